// The shape of a decoder and where each parameter lies. No torch here: readers, writers and the wire use it too.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace tactus {

// Llama-3 frequency scaling ("rope_type": "llama3"); kind kNone leaves rope_theta alone.
struct RopeScaling {
  enum class Kind { kNone, kLlama3 } kind = Kind::kNone;
  double factor = 1;
  double low_freq_factor = 1;
  double high_freq_factor = 4;
  int64_t original_max_position = 8192;
};

struct ModelConfig {
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;        // H
  int64_t intermediate_size = 0;  // I
  int64_t num_layers = 0;         // L
  int64_t num_heads = 0;          // query heads
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;  // D, a multiple of 16
  double rms_norm_eps = 1e-6;
  double rope_theta = 10000;
  RopeScaling rope_scaling = {};
  int64_t max_position = 0;  // longest sequence the model was made for, tokens
  bool tie_word_embeddings = false;
  bool qkv_bias = false;       // on queries, keys and values
  bool qk_norm = false;        // queries and keys are normed
  bool qk_norm_whole = false;  // with qk_norm: all of q by one norm, all of k by another, not head by head
  bool norms_after = false;    // what attention and the MLP add to the stream is normed, not what they read
  std::vector<int32_t> eos_token_ids = {};
};

// Parses config.json (and generation_config.json's eos ids when given, else ""). Errors: InvalidArgument naming the
// field, e.g. an unknown model_type, a rope_type we do not compute, sliding-window attention, a non-SiLU activation.
absl::StatusOr<ModelConfig> ParseModelConfig(const std::string& config_json, const std::string& generation_json,
                                             const std::string& source_name);

// One parameter: Hugging Face name, shape, and where it starts in the flat float buffer (offsets are multiples of 16).
struct ParameterSpec {
  std::string name;
  std::vector<int64_t> shape;
  int64_t offset = 0;
  int64_t numel = 0;
};

// All parameters in a fixed order, packed in one flat buffer: one all-reduce, one optimizer pass, one hash.
struct ParameterLayout {
  std::vector<ParameterSpec> specs;
  int64_t total_numel = 0;  // with the padding between parameters, which stays 0

  const ParameterSpec* Find(const std::string& name) const;  // nullptr when there is none
};

ParameterLayout MakeParameterLayout(const ModelConfig& config);

}  // namespace tactus
