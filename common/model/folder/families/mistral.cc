// Mistral and Mistral-Nemo: Llama whose attention may be told to look at a window of the past only, which the decoder
// does not compute.
#include "common/base/status_macros.h"
#include "common/model/folder/families/family.h"

namespace tactus {
namespace {

// A window binds as soon as a sequence is longer than it; one no sequence can outgrow is full attention.
absl::Status CheckWindow(const ConfigFields& fields, const ModelConfig& config) {
  constexpr int64_t kAbsent = 4096;  // MistralConfig's own; published folders without a window say null
  if (fields.Has("sliding_window") && fields.Get("sliding_window") == nullptr) return absl::OkStatus();
  ASSIGN_OR_RETURN(const int64_t window, fields.Int("sliding_window", 1, int64_t{1} << 30, kAbsent));
  if (window >= config.max_position) return absl::OkStatus();
  return fields.Error("sliding_window",
                      absl::StrCat(fields.Has("sliding_window") ? "is " : "is missing, which means ", window,
                                   ": tokens would not see further back than that; expected null, or at least the ",
                                   config.max_position, " of max_position_embeddings"));
}

}  // namespace

constinit const ModelFamily kMistral = {
    .model_type = "mistral", .base = {.num_kv_heads = 8, .max_position = 131072}, .check = CheckWindow};

}  // namespace tactus
