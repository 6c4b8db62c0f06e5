// What a runner without a place for a second set does with staged weights.
#include <utility>

#include "absl/strings/str_cat.h"
#include "actor/engine/model_runner.h"

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

}  // namespace tactus
