#include "common/model/train_layers_cuda.h"

#include <algorithm>

#include "common/device/runtime_cuda.h"
#include "common/ops/cuda/backward_cuda.h"
#include "common/ops/cuda/gemm_cuda.h"
#include "common/ops/cuda/rows_cuda.h"

namespace tactus {

namespace cuda = ops::cuda;

TrainLayersCuda::TrainLayersCuda(const ModelConfig& config, const DeviceParameterSet& weights,
                                 bool activation_checkpointing, int gpu)
    : config_(config),
      offsets_(OffsetsOf(config, MakeParameterLayout(config))),
      weights_(weights),
      type_(weights.flat().scalar_type()),
      checkpointing_(activation_checkpointing),
      shape_{.num_heads = config.num_heads, .num_kv_heads = config.num_kv_heads, .head_dim = config.head_dim},
      h_(config.hidden_size),
      inner_(config.intermediate_size),
      q_columns_(config.num_heads * config.head_dim),
      columns_((config.num_heads + 2 * config.num_kv_heads) * config.head_dim),
      x_in_(static_cast<size_t>(config.num_layers), DeviceScratch(gpu)),
      kept_(activation_checkpointing ? 1 : static_cast<size_t>(config.num_layers), Kept(gpu)),
      passing_(gpu),
      normed_scratch_(gpu),
      inverse_scratch_(gpu),
      activated_scratch_(gpu),
      delta_scratch_(gpu),
      again_scratch_(gpu),
      rounded_scratch_(gpu),
      dwide_scratch_(gpu),
      dnarrow_scratch_(gpu),
      dattention_scratch_(gpu),
      dqkv_scratch_(gpu),
      workspace_scratch_(gpu) {}

at::Tensor TrainLayersCuda::Activations(DeviceScratch& scratch, int64_t rows, int64_t columns) const {
  return scratch.Get({rows, columns}, type_);
}

// normed_ = RMSNorm(x), inverse_ = its 1 / rms.
void TrainLayersCuda::Normed(const float* x, const float* weight, int64_t rows) {
  normed_ = Activations(normed_scratch_, rows, h_);
  inverse_ = inverse_scratch_.Get({rows}, at::kFloat);
  cuda::AddRmsNorm({.rows = rows,
                    .hidden = h_,
                    .type = type_,
                    .x = const_cast<float*>(x),  // without a delta it is only read
                    .weight = weight,
                    .eps = static_cast<float>(config_.rms_norm_eps),
                    .out = normed_.data_ptr(),
                    .inverse_rms = inverse_.data_ptr<float>()});
}

// x += delta, attention's inputs, and attention itself; x_in, unless null, becomes the stream that it read.
void TrainLayersCuda::Attend(const DeviceBatch& batch, const DeviceLayer& layer, float* x, const void* delta,
                             float* x_in, Kept& kept) {
  const int64_t rows = batch.rows();
  normed_ = Activations(normed_scratch_, rows, h_);
  cuda::AddRmsNorm({.rows = rows,
                    .hidden = h_,
                    .type = type_,
                    .x = x,
                    .delta = delta,
                    .weight = layer.input_norm,
                    .eps = static_cast<float>(config_.rms_norm_eps),
                    .out = normed_.data_ptr()});
  if (x_in != nullptr) device::CopyAsync(x_in, x, static_cast<size_t>(rows * h_) * sizeof(float));
  kept.qkv_rows = Activations(kept.qkv, rows, columns_);
  kept.raw_rows = config_.qk_norm ? Activations(kept.raw, rows, columns_) : kept.qkv_rows;
  if (config_.qk_norm) {
    kept.qk_inverse = kept.qk_inverse_rms.Get({rows, config_.num_heads + config_.num_kv_heads}, at::kFloat);
  }
  cuda::Linear(normed_.const_data_ptr(), rows, layer.qkv, columns_, h_, type_, kept.raw_rows.data_ptr(), type_);
  cuda::FinishQkv({.rows = rows,
                   .num_heads = config_.num_heads,
                   .num_kv_heads = config_.num_kv_heads,
                   .head_dim = config_.head_dim,
                   .type = type_,
                   .raw = kept.raw_rows.const_data_ptr(),
                   .bias = layer.qkv_bias,
                   .q_norm = layer.q_norm,
                   .k_norm = layer.k_norm,
                   .eps = static_cast<float>(config_.rms_norm_eps),
                   .cosines = batch.cosines(),
                   .sines = batch.sines(),
                   .positions = batch.positions(),
                   .out = kept.qkv_rows.data_ptr(),
                   .inverse_rms = config_.qk_norm ? kept.qk_inverse.data_ptr<float>() : nullptr});
  kept.attention = cuda::TrainingAttention(shape_, batch.attention(), kept.qkv_rows);
}

// x += attention's output, and the product before SwiGLU; mid becomes the stream in between.
void TrainLayersCuda::GateUp(const DeviceBatch& batch, const DeviceLayer& layer, float* x, Kept& kept) {
  const int64_t rows = batch.rows();
  const at::Tensor delta = Activations(delta_scratch_, rows, h_);
  cuda::Linear(kept.attention.out.const_data_ptr(), rows, layer.o, h_, q_columns_, type_, delta.data_ptr(), type_);
  cuda::AddRmsNorm({.rows = rows,
                    .hidden = h_,
                    .type = type_,
                    .x = x,
                    .delta = delta.const_data_ptr(),
                    .weight = layer.post_norm,
                    .eps = static_cast<float>(config_.rms_norm_eps),
                    .out = normed_.data_ptr()});
  kept.gate_up_rows = Activations(kept.gate_up, rows, 2 * inner_);
  cuda::Linear(normed_.const_data_ptr(), rows, layer.gate_up, 2 * inner_, h_, type_, kept.gate_up_rows.data_ptr(),
               type_);
}

void TrainLayersCuda::Forward(const DeviceBatch& batch, float* x, bool keep) {
  const int64_t rows = batch.rows();
  const void* delta = nullptr;
  for (int64_t l = 0; l < config_.num_layers; ++l) {
    const DeviceLayer& layer = weights_.parameters().layers[static_cast<size_t>(l)];
    Kept& kept = keep ? KeptOf(l) : passing_;
    float* x_in = keep ? x_in_[static_cast<size_t>(l)].Get({rows, h_}, at::kFloat).data_ptr<float>() : nullptr;
    Attend(batch, layer, x, delta, x_in, kept);
    GateUp(batch, layer, x, kept);
    if (keep && !checkpointing_) {
      kept.mid_rows = kept.mid.Get({rows, h_}, at::kFloat);
      device::CopyAsync(kept.mid_rows.data_ptr(), x, static_cast<size_t>(rows * h_) * sizeof(float));
    }
    const at::Tensor activated = Activations(activated_scratch_, rows, inner_);
    const at::Tensor down = Activations(delta_scratch_, rows, h_);
    cuda::SwiGlu(kept.gate_up_rows.const_data_ptr(), rows, inner_, type_, activated.data_ptr());
    cuda::Linear(activated.const_data_ptr(), rows, layer.down, h_, inner_, type_, down.data_ptr(), type_);
    delta = down.const_data_ptr();
  }
  cuda::AddRmsNorm({.rows = rows, .hidden = h_, .type = type_, .x = x, .delta = delta});
}

void TrainLayersCuda::Backward(const DeviceBatch& batch, int64_t layer, float* dx, float* gradients) {
  const int64_t rows = batch.rows();
  const DeviceLayer& from = weights_.parameters().layers[static_cast<size_t>(layer)];
  const LayerOffsets& at = offsets_.layers[static_cast<size_t>(layer)];
  Kept& kept = KeptOf(layer);
  const float* x_in = x_in_[static_cast<size_t>(layer)].Get({rows, h_}, at::kFloat).const_data_ptr<float>();
  if (checkpointing_) {
    kept.mid_rows = again_scratch_.Get({rows, h_}, at::kFloat);
    float* again = kept.mid_rows.data_ptr<float>();
    device::CopyAsync(again, x_in, static_cast<size_t>(rows * h_) * sizeof(float));
    Attend(batch, from, again, /*delta=*/nullptr, /*x_in=*/nullptr, kept);
    GateUp(batch, from, again, kept);
  }
  MlpBackward(from, at, kept, dx, gradients);
  AttentionBackward(batch, from, at, kept, x_in, dx, gradients);
  if (!checkpointing_) kept.attention = {};
}

const void* TrainLayersCuda::Rounded(const float* dx, int64_t rows) {
  if (type_ == at::kFloat) return dx;
  const at::Tensor rounded = Activations(rounded_scratch_, rows, h_);
  cuda::Round(dx, rows * h_, type_, rounded.data_ptr());
  return rounded.const_data_ptr();
}

// Of the norm that normed_ and inverse_ came from; d loss / d its output is in dnarrow_scratch_.
void TrainLayersCuda::ThroughNorm(const float* x, const float* weight, int64_t rows, float* dx, float* dweight) {
  const int64_t floats = cuda::GradientWorkspaceFloats(rows, h_);
  cuda::RmsNormBackward({.rows = rows,
                         .hidden = h_,
                         .type = type_,
                         .x = x,
                         .weight = weight,
                         .inverse_rms = inverse_.const_data_ptr<float>(),
                         .dy = Activations(dnarrow_scratch_, rows, h_).const_data_ptr(),
                         .dx = dx,
                         .accumulate_dx = true,
                         .dweight = dweight,
                         .workspace = workspace_scratch_.Get({floats}, at::kFloat).data_ptr<float>()});
}

void TrainLayersCuda::MlpBackward(const DeviceLayer& layer, const LayerOffsets& at, const Kept& kept, float* dx,
                                  float* gradients) {
  const int64_t rows = kept.gate_up_rows.size(0);
  const void* dout = Rounded(dx, rows);
  const at::Tensor dactivated = Activations(dattention_scratch_, rows, inner_);
  const at::Tensor dgate_up = Activations(dwide_scratch_, rows, 2 * inner_);
  const at::Tensor activated = Activations(activated_scratch_, rows, inner_);
  cuda::LinearBackwardInput(dout, rows, h_, layer.down, inner_, type_, dactivated.data_ptr());
  cuda::SwiGluBackward(kept.gate_up_rows.const_data_ptr(), dactivated.const_data_ptr(), rows, inner_, type_,
                       dgate_up.data_ptr(), activated.data_ptr());
  cuda::LinearBackwardWeight(dout, rows, h_, activated.const_data_ptr(), inner_, type_, gradients + at.down);
  const float* mid = kept.mid_rows.const_data_ptr<float>();
  Normed(mid, layer.post_norm, rows);
  cuda::LinearBackwardWeight(dgate_up.const_data_ptr(), rows, 2 * inner_, normed_.const_data_ptr(), h_, type_,
                             gradients + at.gate);
  cuda::LinearBackwardInput(dgate_up.const_data_ptr(), rows, 2 * inner_, layer.gate_up, h_, type_,
                            Activations(dnarrow_scratch_, rows, h_).data_ptr());
  ThroughNorm(mid, layer.post_norm, rows, dx, gradients + at.post_norm);
}

void TrainLayersCuda::AttentionBackward(const DeviceBatch& batch, const DeviceLayer& layer, const LayerOffsets& at,
                                        const Kept& kept, const float* x_in, float* dx, float* gradients) {
  const int64_t rows = batch.rows();
  const void* dout = Rounded(dx, rows);
  const at::Tensor dattention = dattention_scratch_.Get({rows, config_.num_heads, config_.head_dim}, type_);
  cuda::LinearBackwardInput(dout, rows, h_, layer.o, q_columns_, type_, dattention.data_ptr());
  cuda::LinearBackwardWeight(dout, rows, h_, kept.attention.out.const_data_ptr(), q_columns_, type_, gradients + at.o);
  dqkv_ = Activations(dqkv_scratch_, rows, columns_);
  cuda::TrainingAttentionBackward(shape_, batch.attention(), kept.qkv_rows, kept.attention, dattention, dqkv_);
  QkvBackward(batch, layer, at, kept, gradients);
  Normed(x_in, layer.input_norm, rows);
  cuda::LinearBackwardWeight(dqkv_.const_data_ptr(), rows, columns_, normed_.const_data_ptr(), h_, type_,
                             gradients + at.q);
  cuda::LinearBackwardInput(dqkv_.const_data_ptr(), rows, columns_, layer.qkv, h_, type_,
                            Activations(dnarrow_scratch_, rows, h_).data_ptr());
  ThroughNorm(x_in, layer.input_norm, rows, dx, gradients + at.input_norm);
}

void TrainLayersCuda::QkvBackward(const DeviceBatch& batch, const DeviceLayer& layer, const LayerOffsets& at,
                                  const Kept& kept, float* gradients) {
  const int64_t floats =
      cuda::FinishQkvBackwardWorkspaceFloats(batch.rows(), config_.num_heads, config_.num_kv_heads, config_.head_dim);
  cuda::FinishQkvBackwardArgs args;
  args.rows = batch.rows();
  args.num_heads = config_.num_heads;
  args.num_kv_heads = config_.num_kv_heads;
  args.head_dim = config_.head_dim;
  args.type = type_;
  args.cosines = batch.cosines();
  args.sines = batch.sines();
  args.positions = batch.positions();
  args.dqkv = dqkv_.data_ptr();
  if (config_.qk_norm) {
    args.raw = kept.raw_rows.const_data_ptr();
    args.bias = layer.qkv_bias;
    args.q_norm = layer.q_norm;
    args.k_norm = layer.k_norm;
    args.inverse_rms = kept.qk_inverse.const_data_ptr<float>();
    args.dq_norm = gradients + at.q_norm;
    args.dk_norm = gradients + at.k_norm;
  }
  if (config_.qkv_bias) args.dbias = gradients + at.q_bias;
  args.workspace = workspace_scratch_.Get({floats}, at::kFloat).data_ptr<float>();
  cuda::FinishQkvBackward(args);
}

}  // namespace tactus
