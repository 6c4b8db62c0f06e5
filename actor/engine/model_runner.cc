#include "actor/engine/model_runner.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace tactus {

absl::Status ModelRunner::StageWeights(std::vector<float> parameters) {
  staged_ = std::move(parameters);
  return absl::OkStatus();
}

absl::Status ModelRunner::StageSharedWeights(const SharedWeights&) {
  return absl::UnimplementedError("this model runs on the CPU, which reads no GPU's memory");
}

absl::Status ModelRunner::UseStagedWeights() {
  if (staged_.empty()) return absl::FailedPreconditionError("no weights are staged");
  return SetWeights(std::exchange(staged_, {}));
}

absl::Status CheckWeightsSize(size_t size, int64_t own) {
  if (static_cast<int64_t>(size) == own) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("new weights hold ", size, " parameters, and the model has ", own,
                                                 ": is it the same model folder?"));
}

absl::StatusOr<int64_t> PagesOf(const ModelConfig& config, const ModelRunnerOptions& options) {
  const ops::AttentionShape shape{config.num_heads, config.num_kv_heads, config.head_dim};
  const int64_t page_bytes = ops::KvPageBytes(shape, options.weights_dtype, config.num_layers);
  const int64_t pages = std::min((options.kv_cache_mib << 20) / page_bytes, options.max_pages);
  if (pages >= 2) return pages;
  return absl::InvalidArgumentError(absl::StrCat("actor.kv_cache_mib is ", options.kv_cache_mib,
                                                 ", and two pages of this model's cache take ", 2 * page_bytes,
                                                 " bytes."));
}

}  // namespace tactus
