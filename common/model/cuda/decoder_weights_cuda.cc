#include "common/model/cuda/decoder_weights_cuda.h"

#include <cstddef>
#include <utility>

#include "common/device/runtime_cuda.h"

namespace tactus {

DecoderWeightsCuda::DecoderWeights(const ModelConfig& config, at::Tensor flat, int gpu, bool flash)
    : config_(config), gpu_(gpu), flash_(flash), flat_(std::move(flat)) {
  const DecoderOffsets offsets = OffsetsOf(config, MakeParameterLayout(config));
  norms_ = NormsOf(config, offsets);
  int64_t norm_numel = 0;
  for (const NormSpan& norm : norms_) norm_numel += norm.size;
  norm_values_ = device::DeviceEmpty(gpu, {norm_numel}, at::kFloat);

  const auto at = [&](int64_t offset) -> const void* {
    return offset < 0 ? nullptr : static_cast<std::byte*>(flat_.data_ptr()) + offset * flat_.element_size();
  };
  const int64_t h = config.hidden_size, inner = config.intermediate_size, q = config.num_heads * config.head_dim;
  parameters_.embed = at(offsets.embed);
  parameters_.head = {.data = at(offsets.head), .columns = config.vocab_size, .depth = h};
  for (const LayerOffsets& from : offsets.layers) {
    LayerWeights<ops::CudaBackend>& layer = parameters_.layers.emplace_back();
    const int64_t columns = q + 2 * config.num_kv_heads * config.head_dim;
    layer.qkv_finish.bias = at(from.q_bias);
    layer.qkv = {.data = at(from.q), .columns = columns, .depth = h};
    layer.o = {.data = at(from.o), .columns = h, .depth = q};
    layer.gate_up = {.data = at(from.gate), .columns = 2 * inner, .depth = h};
    layer.down = {.data = at(from.down), .columns = h, .depth = inner};
  }
  BindNorms(config, offsets, norm_values_.const_data_ptr<float>(), parameters_);
}

ops::CudaBackend DecoderWeightsCuda::backend() const {
  return ops::CudaBackend(flat_.scalar_type() == at::kFloat ? StorageDType::kFloat32 : StorageDType::kBFloat16, gpu_,
                          flash_);
}

void DecoderWeightsCuda::NormsChanged() {
  int64_t at = 0;
  for (const NormSpan& norm : norms_) {
    norm_values_.narrow(0, at, norm.size).copy_(flat_.narrow(0, norm.offset, norm.size), /*non_blocking=*/true);
    at += norm.size;
  }
}

}  // namespace tactus
