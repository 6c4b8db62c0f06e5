#include "common/model/cuda/staged_weights_cuda.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

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

StagedWeightsCuda::StagedWeightsCuda(const ModelConfig& config, StorageDType dtype, int gpu)
    : config_(config), layout_(MakeParameterLayout(config)), dtype_(dtype), gpu_(gpu), queue_(gpu) {}

DecoderWeightsCuda& StagedWeightsCuda::Spare() {
  std::optional<DecoderWeightsCuda>& set = sets_[static_cast<size_t>(spare())];
  if (!set.has_value()) {
    set.emplace(config_, device::DeviceEmpty(gpu_, {layout_.total_numel}, ops::TorchTypeOf(dtype_)), gpu_);
  }
  return *set;
}

absl::Status StagedWeightsCuda::StageBy(absl::FunctionRef<absl::Status(void*)> fill) {
  const device::QueueGuard guard(queue_);
  DecoderWeightsCuda& set = Spare();
  staged_ = false;
  if (absl::Status status = fill(set.flat().data_ptr()); !status.ok()) return status;
  set.NormsChanged();
  device::Synchronize();
  staged_ = true;
  return absl::OkStatus();
}

void StagedWeightsCuda::Stage(std::span<const float> parameters) {
  const int64_t width = BytesPerElement(dtype_);
  // `fill` has no error of its own: what fails throws.
  (void)StageBy([&](void* flat) {
    for (int64_t first = 0, piece = 0; first < layout_.total_numel; first += kPieceElements, piece ^= 1) {
      const int64_t count = std::min(kPieceElements, layout_.total_numel - first);
      at::Tensor& memory = pieces_[static_cast<size_t>(piece)];
      if (!memory.defined()) {
        memory = device::PinnedEmpty({std::min(kPieceElements, layout_.total_numel)}, ops::TorchTypeOf(dtype_));
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

bool StagedWeightsCuda::Use() {
  if (!staged_) return false;
  current_ = spare();
  staged_ = false;
  return true;
}

}  // namespace tactus
