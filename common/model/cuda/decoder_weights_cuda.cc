#include "common/model/cuda/decoder_weights_cuda.h"

#include <cstddef>
#include <utility>

#include "common/device/runtime_cuda.h"

namespace tactus {

DecoderWeightsCuda::DecoderWeights(const ModelConfig& config, at::ScalarType type, int gpu, bool flash)
    : DecoderWeights(config, at::Tensor(), type, gpu, flash) {}

DecoderWeightsCuda::DecoderWeights(const ModelConfig& config, const at::Tensor& flat, int gpu, bool flash)
    : DecoderWeights(config, flat, flat.scalar_type(), gpu, flash) {
  const auto values = [&](int64_t offset, int64_t numel) { return flat_.narrow(0, offset, numel); };
  for (size_t part = 0; part < parts_.size(); ++part) Bind(part, values);
}

DecoderWeightsCuda::DecoderWeights(const ModelConfig& config, at::Tensor flat, at::ScalarType type, int gpu, bool flash)
    : config_(config),
      gpu_(gpu),
      type_(type),
      flash_(flash),
      flat_(std::move(flat)),
      layout_(MakeParameterLayout(config)),
      offsets_(OffsetsOf(config, layout_)),
      norms_(NormsOf(config, offsets_)),
      parts_(PartsOf(offsets_, layout_)) {
  int64_t norm_numel = 0;
  for (const NormSpan& norm : norms_) norm_numel += norm.size;
  norm_values_ = device::DeviceEmpty(gpu, {norm_numel}, at::kFloat);
  parameters_.layers.resize(offsets_.layers.size());
  BindNorms(config, offsets_, norm_values_.const_data_ptr<float>(), parameters_);
}

ops::CudaBackend DecoderWeightsCuda::backend() const {
  return ops::CudaBackend(type_ == at::kFloat ? StorageDType::kFloat32 : StorageDType::kBFloat16, gpu_, flash_);
}

// Points the part's matrices and biases to their values.
void DecoderWeightsCuda::Bind(size_t part, Values values) {
  const int64_t h = config_.hidden_size, inner = config_.intermediate_size;
  const auto matrix = [&](int64_t offset, int64_t columns, int64_t depth) {
    return ops::CudaBackend::Matrix{
        .data = values(offset, columns * depth).const_data_ptr(), .columns = columns, .depth = depth};
  };
  if (part == 0) {
    parameters_.embed = values(offsets_.embed, config_.vocab_size * h).const_data_ptr();
  } else if (part > offsets_.layers.size()) {
    parameters_.head = matrix(offsets_.head, config_.vocab_size, h);
  } else {
    const LayerOffsets& from = offsets_.layers[part - 1];
    LayerWeights<ops::CudaBackend>& layer = parameters_.layers[part - 1];
    const int64_t q = config_.num_heads * config_.head_dim;
    const int64_t columns = q + 2 * config_.num_kv_heads * config_.head_dim;
    layer.qkv_finish.bias = from.q_bias < 0 ? nullptr : values(from.q_bias, columns).const_data_ptr();
    layer.qkv = matrix(from.q, columns, h);
    layer.o = matrix(from.o, h, q);
    layer.gate_up = matrix(from.gate, 2 * inner, h);
    layer.down = matrix(from.down, h, inner);
  }
}

void DecoderWeightsCuda::CopyNorms(size_t part, Values values) {
  const FlatRange& own = parts_[part].back();
  int64_t at = 0;
  for (const NormSpan& norm : norms_) {
    if (own.begin <= norm.offset && norm.offset < own.end) {
      norm_values_.narrow(0, at, norm.size).copy_(values(norm.offset, norm.size), /*non_blocking=*/true);
    }
    at += norm.size;
  }
}

void DecoderWeightsCuda::NormsChanged() {
  const auto values = [&](int64_t offset, int64_t numel) { return flat_.narrow(0, offset, numel); };
  for (size_t part = 0; part < parts_.size(); ++part) CopyNorms(part, values);
}

void DecoderWeightsCuda::LayOut(size_t part, Values values) {
  Bind(part, values);
  CopyNorms(part, values);
}

}  // namespace tactus
