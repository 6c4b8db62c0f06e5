// Forward with saved activations, and the backward pass, of a decoder on a GPU: what TrainableLm is on the CPU, with
// the same contract. Weights and activations are in the storage dtype, gradients float32. The two agree up to rounding,
// not bit for bit; the same inputs give the same bits in every run, with activation checkpointing and without.
//
// Shapes: T tokens, N targets, C rows of a chunk of logits, V vocabulary. Owned by one thread. Calls enqueue on the
// current queue; Forward and ForwardOnly wait for their numbers, Backward does not wait. Throws what the device library
// throws.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "absl/functional/function_ref.h"
#include "common/model/device_parameter_set_cuda.h"
#include "common/model/train_batch_cuda.h"
#include "common/model/train_layers_cuda.h"
#include "common/model/train_sequences.h"
#include "common/model/trainable_lm.h"  // TrainableOptions

namespace tactus {

class TrainableCuda {
 public:
  // `weights` outlives this.
  TrainableCuda(const ModelConfig& config, const DeviceParameterSet& weights, TrainableOptions options, int gpu);

  // logprobs [N]; entropy [N] (temperature 1, nats) or empty when not wanted. Keeps what Backward needs until the next
  // call.
  void Forward(const TrainSequences& sequences, std::span<float> logprobs, std::span<float> entropy);
  // The same numbers, keeping nothing.
  void ForwardOnly(const TrainSequences& sequences, std::span<float> logprobs, std::span<float> entropy);

  // Adds d loss / d parameter to `gradients`, float32 on the GPU, flat as the parameters, given d loss / d logprob [N]
  // of the last Forward. `finished(begin)`: the queue has all of this call's work on gradients from place `begin` on,
  // to the end of the layout; called with falling places, last with 0.
  void Backward(std::span<const float> dlogprobs, float* gradients, absl::FunctionRef<void(int64_t begin)> finished);

 private:
  void Run(const TrainSequences& sequences, bool keep, std::span<float> logprobs, std::span<float> entropy);
  void Head(std::span<float> logprobs, std::span<float> entropy);
  // Normed states of `count` rows of the final stream, and their logits, a chunk at a time.
  void FinalNorm(const int32_t* rows, int64_t count);
  float* ChunkLogits(int64_t first, int64_t count);
  int64_t ChunkRows(int64_t first, int64_t total) const;
  void HeadBackward(std::span<const float> dlogprobs, float* gradients);
  void ChunkBackward(int64_t first, int64_t count, const int32_t* targets, const float* dlogprobs, float* gradients);

  const ModelConfig config_;
  const DecoderOffsets offsets_;
  const DeviceParameterSet& weights_;
  const TrainableOptions options_;
  const at::ScalarType type_;  // T
  const int64_t h_, vocab_;
  DeviceBatch batch_;
  TrainLayersCuda layers_;
  std::vector<int32_t> target_rows_, targets_;  // of the batch, for Backward
  DeviceUpload chosen_upload_;                  // the targets that carry a gradient

  DeviceScratch stream_scratch_, final_scratch_, normed_scratch_, inverse_scratch_, stats_scratch_;
  DeviceScratch logits_scratch_, dlogits_scratch_, dnormed_scratch_, dfinal_scratch_, workspace_scratch_;
  at::Tensor stream_;                    // float32 [T, H]; in the backward pass its gradient
  at::Tensor final_, normed_, inverse_;  // of FinalNorm's rows: float32 [·, H], T [·, H], float32 [·]
  at::Tensor dnormed_;                   // T [·, H]
  at::Tensor pinned_stats_;
};

}  // namespace tactus
