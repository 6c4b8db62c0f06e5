// TrainableParameters in host memory.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "common/ops/cpu/buffer.h"
#include "learner/train/gradient_buckets.h"
#include "learner/train/trainable_parameters.h"

namespace tactus {

class ParametersCpu : public TrainableParameters {
 public:
  // parameters [layout.total_numel]; they and the layout outlive this. `changed` runs after the parameters were written
  // to.
  ParametersCpu(const ParameterLayout& layout, std::span<float> parameters, std::function<void()> changed);

  absl::Status ZeroGradients() override;
  absl::Status ReduceGradients(Collective& collective) override;
  absl::StatusOr<AdamWResult> Step(const AdamWOptions& options, const AdamWStep& step) override;
  absl::StatusOr<ParameterState> ReadState() override;
  absl::Status WriteState(const ParameterState& state) override;
  absl::StatusOr<std::vector<char>> ReadWeights(StorageDType dtype) override;
  absl::StatusOr<std::optional<SharedWeights>> Share(PolicyVersion version) override;

  std::span<float> gradients();  // [layout.total_numel]

 private:
  AdamW& optimizer();

  const ParameterLayout& layout_;
  const std::span<float> parameters_;
  const std::function<void()> changed_;
  const std::vector<GradientBucket> buckets_;
  // Made when they are first needed: a reference policy never does.
  ops::Buffer<float> gradients_;
  std::optional<AdamW> optimizer_;
};

}  // namespace tactus
