// libtorch's FlashAttention has no version for CPUs: callers take DecodeAttention's way instead.
#include <stdexcept>

#include "common/ops/cuda/flash_attention_cuda.h"

namespace tactus::ops::cuda {

bool HasFlashAttention(at::ScalarType) { return false; }

FlashResult FlashAttention(const at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&,
                           const at::Tensor&, int64_t, int64_t) {
  throw std::logic_error("FlashAttention is called in the emulation of a GPU, which has none");
}

}  // namespace tactus::ops::cuda
