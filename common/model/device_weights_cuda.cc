#include "common/model/device_weights_cuda.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <initializer_list>

#include "absl/strings/str_cat.h"

namespace tactus {
namespace {

// Of one piece on its way to the device: long enough for the bus, short against a set.
constexpr int64_t kPieceElements = int64_t{4} << 20;

void Round(std::span<const float> from, StorageDType dtype, void* to) {
  if (dtype == StorageDType::kFloat32) {
    std::memcpy(to, from.data(), from.size_bytes());
    return;
  }
  auto* const out = static_cast<uint16_t*>(to);
  for (size_t i = 0; i < from.size(); ++i) out[i] = FloatToBFloat16(from[i]);
}

}  // namespace

at::ScalarType TorchTypeOf(StorageDType dtype) { return dtype == StorageDType::kFloat32 ? at::kFloat : at::kBFloat16; }

absl::Status DeviceWeights::Check(const ModelConfig& config) {
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

DeviceWeights::DeviceWeights(const ModelConfig& config, StorageDType dtype, int gpu)
    : config_(config),
      layout_(MakeParameterLayout(config)),
      offsets_(OffsetsOf(config, layout_)),
      dtype_(dtype),
      gpu_(gpu),
      queue_(gpu) {
  const auto add = [this](int64_t offset, int64_t size) {
    if (offset < 0) return;
    norm_offsets_.push_back(offset);
    norm_sizes_.push_back(size);
  };
  for (const LayerOffsets& layer : offsets_.layers) {
    add(layer.input_norm, config_.hidden_size);
    add(layer.post_norm, config_.hidden_size);
    add(layer.q_norm, config_.head_dim);
    add(layer.k_norm, config_.head_dim);
  }
  add(offsets_.final_norm, config_.hidden_size);
}

DeviceWeights::Set& DeviceWeights::Spare() {
  Set& set = sets_[static_cast<size_t>(spare())];
  if (!set.flat.defined()) {
    int64_t norms = 0;
    for (const int64_t size : norm_sizes_) norms += size;
    set.flat = device::DeviceEmpty(gpu_, {layout_.total_numel}, TorchTypeOf(dtype_));
    set.norms = device::DeviceEmpty(gpu_, {norms}, at::kFloat);
    Point(set);
  }
  return set;
}

void DeviceWeights::Point(Set& set) {
  auto* const flat = static_cast<std::byte*>(set.flat.data_ptr());
  const auto at = [&](int64_t offset) -> const void* {
    return offset < 0 ? nullptr : flat + offset * BytesPerElement(dtype_);
  };
  const float* norm = set.norms.data_ptr<float>();
  const auto next_norm = [&](int64_t offset, int64_t size) -> const float* {
    if (offset < 0) return nullptr;
    norm += size;
    return norm - size;
  };
  set.parameters.embed = at(offsets_.embed);
  set.parameters.head = at(offsets_.head);
  for (const LayerOffsets& from : offsets_.layers) {
    DeviceLayer& layer = set.parameters.layers.emplace_back();
    layer.qkv = at(from.q);
    layer.qkv_bias = at(from.q_bias);
    layer.o = at(from.o);
    layer.gate_up = at(from.gate);
    layer.down = at(from.down);
    layer.input_norm = next_norm(from.input_norm, config_.hidden_size);
    layer.post_norm = next_norm(from.post_norm, config_.hidden_size);
    layer.q_norm = next_norm(from.q_norm, config_.head_dim);
    layer.k_norm = next_norm(from.k_norm, config_.head_dim);
  }
  set.parameters.final_norm = next_norm(offsets_.final_norm, config_.hidden_size);
}

void DeviceWeights::ConvertNorms(Set& set) {
  int64_t at = 0;
  for (size_t i = 0; i < norm_offsets_.size(); ++i) {
    set.norms.narrow(0, at, norm_sizes_[i]).copy_(set.flat.narrow(0, norm_offsets_[i], norm_sizes_[i]), true);
    at += norm_sizes_[i];
  }
}

absl::Status DeviceWeights::StageBy(absl::FunctionRef<absl::Status(void*)> fill) {
  const device::QueueGuard guard(queue_);
  Set& set = Spare();
  staged_ = false;
  if (absl::Status status = fill(set.flat.data_ptr()); !status.ok()) return status;
  ConvertNorms(set);
  device::Synchronize();
  staged_ = true;
  return absl::OkStatus();
}

void DeviceWeights::Stage(std::span<const float> parameters) {
  const int64_t width = BytesPerElement(dtype_);
  // `fill` has no error of its own: what fails throws.
  (void)StageBy([&](void* flat) {
    for (int64_t first = 0, piece = 0; first < layout_.total_numel; first += kPieceElements, piece ^= 1) {
      const int64_t count = std::min(kPieceElements, layout_.total_numel - first);
      at::Tensor& memory = pieces_[static_cast<size_t>(piece)];
      if (!memory.defined()) {
        memory = device::PinnedEmpty({std::min(kPieceElements, layout_.total_numel)}, TorchTypeOf(dtype_));
      }
      // While one piece is rounded here, the one before is on its way; the one before that has arrived.
      Round(parameters.subspan(static_cast<size_t>(first), static_cast<size_t>(count)), dtype_, memory.data_ptr());
      device::Synchronize();
      device::CopyAsync(static_cast<std::byte*>(flat) + first * width, memory.data_ptr(),
                        static_cast<size_t>(count * width));
    }
    return absl::OkStatus();
  });
}

bool DeviceWeights::Use() {
  if (!staged_) return false;
  current_ = spare();
  staged_ = false;
  return true;
}

}  // namespace tactus
