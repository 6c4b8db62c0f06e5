// One set of a decoder's parameters on a GPU, in their storage dtype, as kernels and products read them.
//
// The set is the flat buffer of ParameterLayout, rounded: q, k and v of a layer are neighbours in it, as are gate and
// up, so products read them in place. Norms are kept as float32 too. Owned by one thread; calls enqueue on the current
// queue.
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
  DecoderWeights(const ModelConfig& config, at::Tensor flat, int gpu, bool flash = true);

  // After `flat` was written to.
  void NormsChanged();

  const ModelConfig& config() const { return config_; }
  ops::CudaBackend backend() const;
  const at::Tensor& flat() const { return flat_; }
  const DecoderParameters<ops::CudaBackend>& parameters() const { return parameters_; }
  void PrepareBackward() {}  // products from either side read the same matrices
  void Need(size_t, PartUse) {}

 private:
  const ModelConfig config_;
  const int gpu_;
  const bool flash_;
  const at::Tensor flat_;
  std::vector<NormSpan> norms_;
  at::Tensor norm_values_;  // float32, of norms_
  DecoderParameters<ops::CudaBackend> parameters_;
};
using DecoderWeightsCuda = DecoderWeights<ops::CudaBackend>;

}  // namespace tactus
