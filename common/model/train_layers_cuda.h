// A decoder's layers in training on a GPU: forward with kept activations, and backward. Internal to common/model.
//
// Shapes: T rows, H hidden, I intermediate, Hq/Hk heads, D head size. The residual stream and its gradient are float32
// [T, H], activations and their gradients T, the weights' storage type; weights' gradients are float32.
// Owned by one thread; everything enqueues on the current queue and returns. Throws what the device library throws.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "common/model/device_parameter_set_cuda.h"
#include "common/model/train_batch_cuda.h"
#include "common/ops/cuda/training_attention_cuda.h"

namespace tactus {

class TrainLayersCuda {
 public:
  // `weights` outlives this.
  TrainLayersCuda(const ModelConfig& config, const DeviceParameterSet& weights, bool activation_checkpointing, int gpu);

  // x: the embedded tokens, then the stream after the last layer. keep: for Backward.
  void Forward(const DeviceBatch& batch, float* x, bool keep);

  // dx: from d loss / d output of `layer` to d loss / d its input. Adds to the layer's gradients in `gradients`, flat
  // as the parameters. Layers go from the last to the first, of the batch that Forward kept.
  void Backward(const DeviceBatch& batch, int64_t layer, float* dx, float* gradients);

 private:
  // What backward needs of a layer; with checkpointing all but x_in are shared by the layers and made again.
  struct Kept {
    explicit Kept(int gpu) : qkv(gpu), raw(gpu), qk_inverse_rms(gpu), mid(gpu), gate_up(gpu) {}
    DeviceScratch qkv, raw, qk_inverse_rms, mid, gate_up;
    at::Tensor qkv_rows;  // the part of qkv in use
    at::Tensor raw_rows, qk_inverse, mid_rows, gate_up_rows;
    ops::cuda::AttentionResult attention;
  };

  Kept& KeptOf(int64_t layer) { return kept_[checkpointing_ ? 0 : static_cast<size_t>(layer)]; }
  at::Tensor Activations(DeviceScratch& scratch, int64_t rows, int64_t columns) const;
  void Attend(const DeviceBatch& batch, const DeviceLayer& layer, float* x, const void* delta, float* x_in, Kept& kept);
  void GateUp(const DeviceBatch& batch, const DeviceLayer& layer, float* x, Kept& kept);
  void MlpBackward(const DeviceLayer& layer, const LayerOffsets& at, const Kept& kept, float* dx, float* gradients);
  void AttentionBackward(const DeviceBatch& batch, const DeviceLayer& layer, const LayerOffsets& at, const Kept& kept,
                         const float* x_in, float* dx, float* gradients);
  void QkvBackward(const DeviceBatch& batch, const DeviceLayer& layer, const LayerOffsets& at, const Kept& kept,
                   float* gradients);
  const void* Rounded(const float* dx, int64_t rows);
  void Normed(const float* x, const float* weight, int64_t rows);
  void ThroughNorm(const float* x, const float* weight, int64_t rows, float* dx, float* dweight);

  const ModelConfig config_;
  const DecoderOffsets offsets_;
  const DeviceParameterSet& weights_;
  const at::ScalarType type_;  // T
  const bool checkpointing_;
  const ops::AttentionShape shape_;
  const int64_t h_, inner_, q_columns_, columns_;  // H, I, Hq D, (Hq + 2 Hk) D

  std::vector<DeviceScratch> x_in_;  // per layer [T, H]
  std::vector<Kept> kept_;
  Kept passing_;  // where nothing is kept
  DeviceScratch normed_scratch_, inverse_scratch_, activated_scratch_, delta_scratch_, again_scratch_;
  DeviceScratch rounded_scratch_, dwide_scratch_, dnarrow_scratch_, dattention_scratch_, dqkv_scratch_;
  DeviceScratch workspace_scratch_;
  at::Tensor normed_, inverse_, dqkv_;  // in use
};

}  // namespace tactus
