// FlashAttention is never what runs here: HasFlashAttention says so.
#include <stdexcept>

#include "common/ops/cuda/flash_backward_cuda.h"

namespace tactus::ops::cuda {

FlashGradients FlashAttentionBackward(const at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&,
                                      const FlashResult&, const at::Tensor&, const at::Tensor&, int64_t) {
  throw std::logic_error("FlashAttention's backward pass is called in the emulation of a GPU, which has none");
}

void AddByRow(const at::Tensor&, const at::Tensor&, at::Tensor&) {
  throw std::logic_error("FlashAttention's gradients are added up in the emulation of a GPU, which has none");
}

}  // namespace tactus::ops::cuda
