#include "learner/train/host_parameters.h"

#include <algorithm>
#include <utility>

#include "common/base/status_macros.h"
#include "common/weights/weight_publisher.h"

namespace tactus {

HostParameters::HostParameters(const ParameterLayout& layout, std::span<float> parameters, std::span<float> gradients,
                               std::function<void()> changed)
    : layout_(layout),
      parameters_(parameters),
      gradients_(gradients),
      changed_(std::move(changed)),
      buckets_(CutGradientBuckets(layout, kGradientBucketBytes)) {}

AdamW& HostParameters::optimizer() {
  if (!optimizer_.has_value()) optimizer_.emplace(layout_);
  return *optimizer_;
}

absl::Status HostParameters::ZeroGradients() {
  std::ranges::fill(gradients_, 0.0f);
  return absl::OkStatus();
}

absl::Status HostParameters::ReduceGradients(Collective& collective) {
  for (const GradientBucket& bucket : buckets_) {
    RETURN_IF_ERROR(collective.StartAllReduceSum(
        gradients_.subspan(static_cast<size_t>(bucket.begin), static_cast<size_t>(bucket.end - bucket.begin))));
  }
  return collective.Wait();
}

absl::StatusOr<AdamWResult> HostParameters::Step(const AdamWOptions& options, const AdamWStep& step) {
  const AdamWResult result = optimizer().Step(options, step, parameters_, gradients_);
  if (!result.skipped) changed_();
  return result;
}

absl::StatusOr<ParameterState> HostParameters::ReadState() {
  return ParameterState{parameters_, optimizer().first_moment(), optimizer().second_moment()};
}

absl::Status HostParameters::WriteState(const ParameterState& state) {
  RETURN_IF_ERROR(CheckState(state, parameters_.size()));
  std::ranges::copy(state.parameters, parameters_.begin());
  for (const auto& [from, to] : {std::pair(state.first_moment, optimizer().first_moment()),
                                 std::pair(state.second_moment, optimizer().second_moment())}) {
    if (from.empty()) {
      std::ranges::fill(to, 0.0f);
    } else {
      std::ranges::copy(from, to.begin());
    }
  }
  changed_();
  return absl::OkStatus();
}

absl::StatusOr<std::vector<char>> HostParameters::ReadWeights(StorageDType dtype) {
  return EncodeWeights(layout_, parameters_, dtype);
}

absl::StatusOr<std::optional<SharedWeights>> HostParameters::Share(PolicyVersion) { return std::nullopt; }

}  // namespace tactus
