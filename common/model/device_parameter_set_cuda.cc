#include "common/model/device_parameter_set_cuda.h"

#include <cstddef>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/device/runtime_cuda.h"

namespace tactus {

at::ScalarType TorchTypeOf(StorageDType dtype) { return dtype == StorageDType::kFloat32 ? at::kFloat : at::kBFloat16; }

absl::Status DeviceParameterSet::Check(const ModelConfig& config) {
  const DecoderOffsets at = OffsetsOf(config, MakeParameterLayout(config));
  const int64_t h = config.hidden_size, q = config.num_heads * config.head_dim;
  const int64_t kv = config.num_kv_heads * config.head_dim, inner = config.intermediate_size;
  for (const LayerOffsets& layer : at.layers) {
    const bool biases = layer.q_bias < 0 || (layer.k_bias == layer.q_bias + q && layer.v_bias == layer.k_bias + kv);
    if (layer.k == layer.q + q * h && layer.v == layer.k + kv * h && layer.up == layer.gate + inner * h && biases) {
      continue;
    }
    return absl::UnimplementedError(absl::StrCat("a GPU needs matrices of a multiple of 16 elements; this model's ",
                                                 "hidden size ", h, " and intermediate size ", inner, " give others."));
  }
  if (h % 8 == 0 && inner % 8 == 0) return absl::OkStatus();
  return absl::UnimplementedError(
      absl::StrCat("a GPU needs a hidden and an intermediate size that are multiples of 8; ", "this model's are ", h,
                   " and ", inner, "."));
}

DeviceParameterSet::DeviceParameterSet(const ModelConfig& config, at::Tensor flat, int gpu) : flat_(std::move(flat)) {
  const DecoderOffsets offsets = OffsetsOf(config, MakeParameterLayout(config));
  int64_t norm_numel = 0;
  const auto count = [&](int64_t offset, int64_t size) {
    if (offset < 0) return;
    norms_.push_back({offset, size});
    norm_numel += size;
  };
  for (const LayerOffsets& layer : offsets.layers) {
    count(layer.input_norm, config.hidden_size);
    count(layer.post_norm, config.hidden_size);
    count(layer.q_norm, config.head_dim);
    count(layer.k_norm, config.head_dim);
  }
  count(offsets.final_norm, config.hidden_size);
  norm_values_ = device::DeviceEmpty(gpu, {norm_numel}, at::kFloat);

  auto* const start = static_cast<std::byte*>(flat_.data_ptr());
  const auto at = [&](int64_t offset) -> const void* {
    return offset < 0 ? nullptr : start + offset * flat_.element_size();
  };
  const float* norm = norm_values_.const_data_ptr<float>();
  const auto next_norm = [&](int64_t offset, int64_t size) -> const float* {
    if (offset < 0) return nullptr;
    norm += size;
    return norm - size;
  };
  parameters_.embed = at(offsets.embed);
  parameters_.head = at(offsets.head);
  for (const LayerOffsets& from : offsets.layers) {
    DeviceLayer& layer = parameters_.layers.emplace_back();
    layer.qkv = at(from.q);
    layer.qkv_bias = at(from.q_bias);
    layer.o = at(from.o);
    layer.gate_up = at(from.gate);
    layer.down = at(from.down);
    layer.input_norm = next_norm(from.input_norm, config.hidden_size);
    layer.post_norm = next_norm(from.post_norm, config.hidden_size);
    layer.q_norm = next_norm(from.q_norm, config.head_dim);
    layer.k_norm = next_norm(from.k_norm, config.head_dim);
  }
  parameters_.final_norm = next_norm(offsets.final_norm, config.hidden_size);
}

void DeviceParameterSet::NormsChanged() {
  int64_t at = 0;
  for (const Norm& norm : norms_) {
    norm_values_.narrow(0, at, norm.size).copy_(flat_.narrow(0, norm.offset, norm.size), /*non_blocking=*/true);
    at += norm.size;
  }
}

}  // namespace tactus
