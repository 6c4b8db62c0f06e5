// A decoder's parameters on the CPU: float32 masters, and the same laid out for the kernels.
//
// Not thread-safe: one thread owns it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/dtype.h"
#include "common/model/decoder_parameters.h"
#include "common/model/folder/hf_folder.h"
#include "common/ops/cpu/backend_cpu.h"

namespace tactus {

template <>
class DecoderWeights<ops::CpuBackend> {
 public:
  // Allocates zero parameters. Unimplemented: see CheckDecoderShape.
  static absl::StatusOr<std::unique_ptr<DecoderWeights>> Create(const ModelConfig& config, StorageDType dtype);
  // Opens the folder, loads its weights and packs them.
  static absl::StatusOr<std::unique_ptr<DecoderWeights>> FromFolder(const ModelFolder& folder, StorageDType dtype);

  const ModelConfig& config() const { return config_; }
  const ParameterLayout& layout() const { return layout_; }
  StorageDType dtype() const { return dtype_; }
  ops::CpuBackend backend() const { return ops::CpuBackend(dtype_); }

  // The float32 masters [layout().total_numel]. After writing to them, call Pack before the next forward.
  std::span<float> flat() { return {flat_.data(), static_cast<size_t>(flat_.size())}; }
  std::span<const float> flat() const { return {flat_.data(), static_cast<size_t>(flat_.size())}; }
  // Rounds to the storage dtype and lays out every matrix for forward products.
  void Pack();

  const DecoderParameters<ops::CpuBackend>& parameters() const { return parameters_; }
  // Before a backward pass: lays the matrices out for products from the other side, d(input) = d(output) W, where they
  // are not as Pack last left them. Until then that memory is not taken.
  void PrepareBackward();

 private:
  DecoderWeights(const ModelConfig& config, StorageDType dtype);
  void RoundInto(int64_t offset, int64_t count, float* out) const;

  const ModelConfig config_;
  const ParameterLayout layout_;
  const StorageDType dtype_;
  const DecoderOffsets offsets_;
  const std::vector<NormSpan> norms_;
  ops::Buffer<float> flat_;
  std::vector<float> norm_values_;  // of norms_
  std::vector<float> biases_;       // [layers, (Hq + 2 Hk) D] or empty
  DecoderParameters<ops::CpuBackend> parameters_;
  bool backward_packed_ = false;
};
using DecoderWeightsCpu = DecoderWeights<ops::CpuBackend>;

}  // namespace tactus
