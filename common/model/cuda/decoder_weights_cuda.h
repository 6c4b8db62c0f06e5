// One set of a decoder's parameters on a GPU, in their storage dtype, as kernels and products read them.
//
// The set is the flat buffer of ParameterLayout, rounded: q, k and v of a layer are neighbours in it, as are gate and
// up, so products read them in place. Norms are kept as float32 too. Or it is there by parts: then a feed brings one
// after the other (PartFeed). Owned by one thread; calls enqueue on the current queue.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "common/base/dtype.h"
#include "common/model/decoder_parameters.h"
#include "common/ops/cuda/backend_cuda.h"

namespace tactus {

template <>
class DecoderWeights<ops::CudaBackend> {
 public:
  // `flat`: T [layout.total_numel] on GPU `gpu`, kept by reference. Call NormsChanged once it is filled. The model has
  // passed CheckDecoderShapeCuda. `flash`: of the backend.
  DecoderWeights(const ModelConfig& config, const at::Tensor& flat, int gpu, bool flash = true);
  // By parts, in `type`.
  DecoderWeights(const ModelConfig& config, at::ScalarType type, int gpu, bool flash = true);

  // After `flat` was written to.
  void NormsChanged();

  // By parts: whom Need asks, and who calls the other. Outlives the passes.
  void SetFeed(PartFeed* feed) { feed_ = feed; }
  const std::vector<DecoderPart>& parts() const { return parts_; }
  // T [numel], the parameters from place `offset` on.
  using Values = absl::FunctionRef<at::Tensor(int64_t offset, int64_t numel)>;
  // From now on the part is read where `values` has it.
  void LayOut(size_t part, Values values);

  const ModelConfig& config() const { return config_; }
  ops::CudaBackend backend() const;
  const at::Tensor& flat() const { return flat_; }  // undefined by parts
  const DecoderParameters<ops::CudaBackend>& parameters() const { return parameters_; }
  void PrepareBackward() {}  // products from either side read the same matrices
  void Need(size_t part, PartUse use) {
    if (feed_ != nullptr) feed_->Need(part, use);
  }

 private:
  DecoderWeights(const ModelConfig& config, at::Tensor flat, at::ScalarType type, int gpu, bool flash);
  void Bind(size_t part, Values values);
  void CopyNorms(size_t part, Values values);

  const ModelConfig config_;
  const int gpu_;
  const at::ScalarType type_;
  const bool flash_;
  const at::Tensor flat_;
  const ParameterLayout layout_;
  const DecoderOffsets offsets_;
  const std::vector<NormSpan> norms_;
  const std::vector<DecoderPart> parts_;
  PartFeed* feed_ = nullptr;
  at::Tensor norm_values_;  // float32, of norms_
  DecoderParameters<ops::CudaBackend> parameters_;
};
using DecoderWeightsCuda = DecoderWeights<ops::CudaBackend>;

}  // namespace tactus
