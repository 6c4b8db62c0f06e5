// TrainableParameters in host memory.
//
// The policy's own float32 buffer is what the products are laid out from. Unless the parameters are divided it is whole
// on every rank; a sharded optimizer's masters are its slices of it, and the other slices hold the other ranks'
// parameters as they came: rounded to the storage dtype. With divided parameters (ParameterFeedCpu) the slices are all
// there is. Gradients are added up in the order of the ranks whatever the sharding, so for one number of ranks every
// sharding gives the same bits, divided gradients where each rank makes one pass a step (ShardedGradientsCpu).
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "common/ops/cpu/buffer.h"
#include "learner/train/sharded_gradients_cpu.h"
#include "learner/train/shards.h"
#include "learner/train/trainable_parameters.h"

namespace tactus {

class ParametersCpu : public TrainableParameters {
 public:
  // parameters [layout.total_numel]; they and the layout outlive this. `changed` runs after the parameters were written
  // to. `dtype` is what the policy rounds them to before it computes.
  ParametersCpu(const ParameterLayout& layout, std::span<float> parameters, std::function<void()> changed,
                const Sharding& sharding = {}, StorageDType dtype = StorageDType::kFloat32);

  absl::Status ZeroGradients() override;
  absl::Status ReduceGradients(Collective& collective) override;
  absl::StatusOr<AdamWResult> Step(const AdamWOptions& options, const AdamWStep& step, Collective& collective) override;
  std::span<const FlatRange> share() const override { return share_; }
  absl::StatusOr<ParameterSnapshot> ReadState(ParameterSnapshot room) override;
  absl::Status WriteState(const ParameterState& state, Collective& collective) override;
  absl::StatusOr<std::vector<char>> ReadWeights(StorageDType dtype, Collective& collective,
                                                std::vector<char> room) override;
  absl::StatusOr<std::optional<SharedWeights>> Share(PolicyVersion version) override;

  // [layout.total_numel]: what a step is taken with. A pass adds to it, or with divided gradients to their window.
  std::span<float> gradients();
  // Null: they are whole.
  ShardedGradientsCpu* divided_gradients() { return divided_.has_value() ? &*divided_ : nullptr; }
  std::span<const FlatRange> buckets() const { return buckets_; }

 private:
  AdamW& optimizer();
  absl::Status GatherFloats(std::span<float> values, Collective& collective);  // [layout.total_numel]
  absl::Status GatherParameters(Collective& collective);

  const ParameterLayout& layout_;
  const std::span<float> parameters_;
  const std::function<void()> changed_;
  const StorageDType dtype_;
  const Shard shard_;
  const std::vector<FlatRange> buckets_;
  const std::vector<FlatRange> share_;
  // Made when they are first needed: a reference policy never does.
  ops::Buffer<float> gradients_;
  std::optional<ShardedGradientsCpu> divided_;  // in their place
  std::optional<AdamW> optimizer_;
};

}  // namespace tactus
