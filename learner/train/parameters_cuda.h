// TrainableParameters on a GPU: master weights, gradients and moments are flat float32 buffers in ParameterLayout
// order, beside them the weights rounded to the storage dtype, which the model computes with (the masters themselves
// where that is float32). A step's arithmetic is the CPU's; the norm's order of sums is another, fixed one.
// With a sharded optimizer masters and moments are those of this rank's share alone, end to end, and the rounded
// weights are gathered in place after each step. Divided gradients are ShardedGradientsCuda; of divided parameters the
// rank's own rounded weights are all that stays, end to end too, and ParameterFeedCuda brings the others to a pass. Of
// a reference policy the weights are all there is.
//
// Owned by one thread. Everything runs in one queue of the GPU. The host waits in Step for the norm, and where numbers
// come to it: Start, ReadState, WriteState, ReadWeights, Share; with a sharded optimizer also for the gather.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

#include "absl/functional/function_ref.h"
#include "common/device/runtime_cuda.h"
#include "common/model/cuda/decoder_weights_cuda.h"
#include "common/ops/cuda/adamw_cuda.h"
#include "common/weights/shared_weights_cuda.h"
#include "learner/train/sharded_gradients_cuda.h"
#include "learner/train/shards.h"
#include "learner/train/trainable_parameters.h"

namespace tactus {

// The kernel's arguments for a step with these coefficients; its buffers are still to be set.
ops::cuda::AdamWUpdateArgs AdamWArgsOf(const AdamWCoefficients& coefficients);

class ParametersCuda : public TrainableParameters {
 public:
  // Throws what the device library throws. Parameters are undefined until Start. `flash`: of the model's backend.
  ParametersCuda(const ModelConfig& config, StorageDType dtype, int gpu, const Sharding& sharding, bool flash = true);
  // Begins with `parameters` [layout.total_numel], the same on every rank. InvalidArgument: another size.
  absl::Status Start(std::span<const float> parameters);

  absl::Status ZeroGradients() override;
  absl::Status ReduceGradients(Collective& collective) override;
  absl::StatusOr<AdamWResult> Step(const AdamWOptions& options, const AdamWStep& step, Collective& collective) override;
  std::span<const FlatRange> share() const override { return share_; }
  absl::StatusOr<ParameterSnapshot> ReadState(ParameterSnapshot room) override;
  absl::Status WriteState(const ParameterState& state, Collective& collective) override;
  absl::StatusOr<std::vector<char>> ReadWeights(StorageDType dtype, Collective& collective,
                                                std::vector<char> room) override;
  absl::StatusOr<std::optional<SharedWeights>> Share(PolicyVersion version) override;  // none by parts

  // For the policy, on the queue.
  const ParameterLayout& layout() const { return layout_; }
  DecoderWeightsCuda& weights() { return weights_; }
  const DecoderWeightsCuda& weights() const { return weights_; }
  std::span<const FlatRange> buckets() const { return buckets_; }
  float* gradients();                                                                    // whole ones
  ShardedGradientsCuda* divided_gradients() { return divided_ ? &*divided_ : nullptr; }  // null: they are whole
  bool by_parts() const { return by_parts_; }
  const at::Tensor& owned() const { return owned_; }  // by parts: T [NumelOf(OwnedRanges)]
  // The buckets from place `begin` of the layout on are complete: their sums over the ranks begin, those that have not.
  absl::Status StartReducing(int64_t begin, Collective& collective);

  // Runs `work` with the queue current; what it throws becomes ResourceExhausted (no memory) or Internal.
  absl::Status OnQueue(absl::FunctionRef<absl::Status()> work);
  static absl::Status Guarded(absl::FunctionRef<absl::Status()> work);

 private:
  at::Tensor DeviceFloats(int64_t numel) const;  // zeros
  void MakeMoments();
  void MakeSegments();
  const float* StepGradients();
  absl::Status WeightsChanged(Collective* collective);
  void RoundInto(const at::Tensor& from, const at::Tensor& to);
  absl::StatusOr<std::vector<char>> GatherWeights(Collective& collective, std::vector<char> room);
  absl::StatusOr<double> GradientNorm(Collective& collective);
  absl::Status Gather(const at::Tensor& flat, Collective& collective);
  void Download(const at::Tensor& from, void* to);
  void Upload(std::span<const float> from, const at::Tensor& to);
  at::Tensor PartOf(const at::Tensor& held, const FlatRange& range) const;
  at::Tensor& Piece();

  const ParameterLayout layout_;
  const StorageDType dtype_;
  const int gpu_;
  const device::Queue queue_;
  const int rank_, world_;
  const bool sharded_;   // masters are a part of the parameters, or none, and lie beside what the model computes with
  const bool by_parts_;  // and so are the weights
  const std::vector<FlatRange> buckets_;
  const std::vector<FlatRange> share_;
  const std::vector<int64_t> owned_places_;  // of each bucket's own slice in owned_
  at::Tensor masters_;                       // [NumelOf(share_)]
  at::Tensor owned_;                         // by parts: T [NumelOf(OwnedRanges)]
  DecoderWeightsCuda weights_;

  // Made when they are first needed.
  at::Tensor gradients_;
  std::optional<ShardedGradientsCuda> divided_;  // in their place
  at::Tensor first_, second_;                    // m and v [NumelOf(share_)]
  at::Tensor segments_;                          // ops::cuda::AdamWSegment [num_segments_]
  at::Tensor norm_workspace_, norm_;             // double
  at::Tensor pinned_norm_, piece_;               // page-locked
  int64_t num_segments_ = 0;
  std::optional<SharedWeightExport> export_;

  size_t next_bucket_ = 0;  // the first whose sum has not begun
};

}  // namespace tactus
