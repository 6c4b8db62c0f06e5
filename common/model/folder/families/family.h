// What a family of models has of its own; model_config.h holds what all of them share. One file a family, beside this
// one, and its name in the two lines at the end. Immutable, thread-safe.
#pragma once

#include "absl/status/status.h"
#include "common/model/folder/config_fields.h"
#include "common/model/folder/model_config.h"

namespace tactus {

struct ModelFamily {
  const char* model_type;  // config.json's

  // What its layer does beyond Llama's, and what transformers takes where config.json leaves a field out; 0 for
  // num_kv_heads means as many as query heads, for head_dim hidden_size / num_heads.
  ModelConfig base;

  // InvalidArgument, naming the field, for what config.json can ask of this family alone and the decoder does not
  // compute; null when there is nothing. `config` has everything but the rotary embedding and the eos ids.
  absl::Status (*check)(const ConfigFields& fields, const ModelConfig& config) = nullptr;
};

extern const ModelFamily kLlama, kQwen2, kQwen3, kMistral, kOlmo2;
inline constexpr const ModelFamily* kModelFamilies[] = {&kLlama, &kQwen2, &kQwen3, &kMistral, &kOlmo2};

}  // namespace tactus
