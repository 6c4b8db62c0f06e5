#include "learner/train/parameters_cpu.h"

#include <algorithm>
#include <utility>

#include "common/base/status_macros.h"
#include "common/weights/weight_publisher.h"

namespace tactus {

ParametersCpu::ParametersCpu(const ParameterLayout& layout, std::span<float> parameters, std::function<void()> changed)
    : layout_(layout),
      parameters_(parameters),
      changed_(std::move(changed)),
      buckets_(CutGradientBuckets(layout, kGradientBucketBytes)) {}

std::span<float> ParametersCpu::gradients() {
  gradients_.Reserve(layout_.total_numel);
  return {gradients_.data(), static_cast<size_t>(gradients_.size())};
}

AdamW& ParametersCpu::optimizer() {
  if (!optimizer_.has_value()) optimizer_.emplace(layout_);
  return *optimizer_;
}

absl::Status ParametersCpu::ZeroGradients() {
  std::ranges::fill(gradients(), 0.0f);
  return absl::OkStatus();
}

absl::Status ParametersCpu::ReduceGradients(Collective& collective) {
  for (const GradientBucket& bucket : buckets_) {
    RETURN_IF_ERROR(collective.StartAllReduceSum(
        gradients().subspan(static_cast<size_t>(bucket.begin), static_cast<size_t>(bucket.end - bucket.begin))));
  }
  return collective.Wait();
}

absl::StatusOr<AdamWResult> ParametersCpu::Step(const AdamWOptions& options, const AdamWStep& step) {
  const AdamWResult result = optimizer().Step(options, step, parameters_, gradients());
  if (!result.skipped) changed_();
  return result;
}

absl::StatusOr<ParameterState> ParametersCpu::ReadState() {
  return ParameterState{parameters_, optimizer().first_moment(), optimizer().second_moment()};
}

absl::Status ParametersCpu::WriteState(const ParameterState& state) {
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

absl::StatusOr<std::vector<char>> ParametersCpu::ReadWeights(StorageDType dtype) {
  return EncodeWeights(layout_, parameters_, dtype);
}

absl::StatusOr<std::optional<SharedWeights>> ParametersCpu::Share(PolicyVersion) { return std::nullopt; }

}  // namespace tactus
