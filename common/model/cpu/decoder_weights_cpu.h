// A decoder's parameters on the CPU: float32 masters, and the same laid out for the kernels. All of them, or by parts:
// then a feed brings one part after the other (PartFeed), and the matrices of one layer and the head are laid out.
//
// Not thread-safe: one thread owns it.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/dtype.h"
#include "common/model/decoder_parameters.h"
#include "common/model/folder/hf_folder.h"
#include "common/ops/cpu/backend_cpu.h"
#include "common/ops/cpu/sparse_floats.h"

namespace tactus {

template <>
class DecoderWeights<ops::CpuBackend> {
 public:
  enum class Residence { kWhole, kByParts };

  // Allocates zero parameters. Unimplemented: see CheckDecoderShape.
  static absl::StatusOr<std::unique_ptr<DecoderWeights>> Create(const ModelConfig& config, StorageDType dtype,
                                                                Residence residence = Residence::kWhole);
  // Opens the folder, loads its weights and packs them.
  static absl::StatusOr<std::unique_ptr<DecoderWeights>> FromFolder(const ModelFolder& folder, StorageDType dtype);

  const ModelConfig& config() const { return config_; }
  const ParameterLayout& layout() const { return layout_; }
  StorageDType dtype() const { return dtype_; }
  ops::CpuBackend backend() const { return ops::CpuBackend(dtype_); }

  // The float32 masters [layout().total_numel]. After writing to them, call Pack before the next forward. By parts only
  // what is written takes memory, until it is released.
  std::span<float> flat() { return {flat_, static_cast<size_t>(layout_.total_numel)}; }
  std::span<const float> flat() const { return {flat_, static_cast<size_t>(layout_.total_numel)}; }
  // Rounds to the storage dtype and lays out every matrix for forward products. Not by parts.
  void Pack();

  // By parts: whom Need asks, who calls the others. Outlives the passes.
  void SetFeed(PartFeed* feed) { feed_ = feed; }
  const std::vector<DecoderPart>& parts() const { return parts_; }
  // Lays out a part whose masters are there; the embedding is read where they are. One part at a time: the one before
  // has been dropped.
  void LayOut(size_t part, PartUse use);
  void Drop(size_t part);
  void Release(const FlatRange& range) { sparse_.Release(range.begin, range.end); }  // of flat: reads as 0

  const DecoderParameters<ops::CpuBackend>& parameters() const { return parameters_; }
  // Before a backward pass: lays the matrices out for products from the other side, d(input) = d(output) W, where they
  // are not as Pack last left them. Until then that memory is not taken.
  void PrepareBackward();
  void Need(size_t part, PartUse use) {
    if (feed_ != nullptr) feed_->Need(part, use);
  }

 private:
  using Matrix = ops::CpuBackend::Matrix;
  struct Placed {
    int64_t offset = 0;
    Matrix* matrix = nullptr;
  };
  static constexpr size_t kLayerMatrices = 4;

  DecoderWeights(const ModelConfig& config, StorageDType dtype, Residence residence);
  Matrix MakeMatrix(int64_t columns, int64_t depth) const;
  std::array<Matrix, kLayerMatrices> MakeLayerMatrices() const;
  void ExchangeMatrices(LayerWeights<ops::CpuBackend>& layer, std::array<Matrix, kLayerMatrices>& others);
  std::vector<Placed> MatricesOf(size_t part);
  void RoundInto(int64_t offset, int64_t count, float* out) const;
  void RoundVectors(size_t part);
  void LayOutForward(size_t part);
  void LayOutBackward(size_t part);

  const ModelConfig config_;
  const ParameterLayout layout_;
  const StorageDType dtype_;
  const DecoderOffsets offsets_;
  const std::vector<NormSpan> norms_;
  const std::vector<DecoderPart> parts_;
  ops::Buffer<float> whole_;  // the masters: one of the two
  ops::SparseFloats sparse_;
  float* flat_ = nullptr;
  std::vector<float> norm_values_;  // of norms_
  std::vector<float> biases_;       // [layers, (Hq + 2 Hk) D] or empty
  DecoderParameters<ops::CpuBackend> parameters_;
  bool backward_packed_ = false;
  std::array<Matrix, kLayerMatrices> spare_;  // by parts: of a layer, while none is laid out
  PartFeed* feed_ = nullptr;
};
using DecoderWeightsCpu = DecoderWeights<ops::CpuBackend>;

}  // namespace tactus
