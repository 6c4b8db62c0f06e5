// TrainableParameters on a GPU: master weights, gradients and moments are flat float32 buffers in ParameterLayout
// order, beside them the weights rounded to the storage dtype, which the model computes with (the masters themselves
// where that is float32). A step's arithmetic is the CPU's; the norm's order of sums is another, fixed one.
//
// Owned by one thread. Everything runs in one queue of the GPU. The host waits in Step for the norm, and where numbers
// come to it: ReadState, WriteState, ReadWeights, Share.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

#include "absl/functional/function_ref.h"
#include "common/device/runtime_cuda.h"
#include "common/model/cuda/decoder_weights_cuda.h"
#include "common/ops/cuda/adamw_cuda.h"
#include "common/weights/shared_weights_cuda.h"
#include "learner/train/gradient_buckets.h"
#include "learner/train/trainable_parameters.h"

namespace tactus {

// The kernel's arguments for a step with these coefficients; its buffers are still to be set.
ops::cuda::AdamWUpdateArgs AdamWArgsOf(const AdamWCoefficients& coefficients);

class ParametersCuda : public TrainableParameters {
 public:
  // Throws what the device library throws. Parameters are undefined until WriteState.
  ParametersCuda(const ModelConfig& config, StorageDType dtype, int gpu);

  absl::Status ZeroGradients() override;
  absl::Status ReduceGradients(Collective& collective) override;
  absl::StatusOr<AdamWResult> Step(const AdamWOptions& options, const AdamWStep& step) override;
  absl::StatusOr<ParameterState> ReadState() override;
  absl::Status WriteState(const ParameterState& state) override;
  absl::StatusOr<std::vector<char>> ReadWeights(StorageDType dtype) override;
  absl::StatusOr<std::optional<SharedWeights>> Share(PolicyVersion version) override;

  // For the policy, on the queue.
  const ParameterLayout& layout() const { return layout_; }
  DecoderWeightsCuda& weights() { return weights_; }
  float* gradients();
  // The buckets from place `begin` of the layout on are complete: their sums over the ranks begin, those that have not.
  absl::Status StartReducing(int64_t begin, Collective& collective);

  // Runs `work` with the queue current; what it throws becomes ResourceExhausted (no memory) or Internal.
  absl::Status OnQueue(absl::FunctionRef<absl::Status()> work);
  static absl::Status Guarded(absl::FunctionRef<absl::Status()> work);

 private:
  at::Tensor DeviceFloats() const;  // [layout.total_numel] zeros
  void MakeMoments();
  void MakeSegments();
  void WeightsChanged();
  void Download(const at::Tensor& from, void* to);
  void Upload(std::span<const float> from, const at::Tensor& to);
  at::Tensor& Piece();

  const ParameterLayout layout_;
  const StorageDType dtype_;
  const int gpu_;
  const device::Queue queue_;
  at::Tensor masters_;
  DecoderWeightsCuda weights_;
  const std::vector<GradientBucket> buckets_;

  // Made when they are first needed.
  at::Tensor gradients_;
  at::Tensor first_, second_;         // m and v
  at::Tensor segments_;               // ops::cuda::AdamWSegment [num_segments_]
  at::Tensor norm_workspace_, norm_;  // double
  at::Tensor pinned_norm_, piece_;    // page-locked
  int64_t num_segments_ = 0;
  std::optional<SharedWeightExport> export_;

  size_t next_bucket_ = 0;  // the first whose sum has not begun
  std::vector<float> snapshot_[3];
};

}  // namespace tactus
