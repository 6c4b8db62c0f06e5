// libtorch's FlashAttention-2 kernels, for rows of many tokens: prefill and training in bfloat16 or half.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <cstdint>

namespace tactus::ops::cuda {

// Whether FlashAttention can run here: bfloat16 or half, on a real GPU (never in the emulation).
bool HasFlashAttention(at::ScalarType type);

struct FlashResult {
  at::Tensor out;                // T [total_q, Hq, D]
  at::Tensor log_sum_exp;        // float32 [Hq, total_q]
  at::Tensor rng_state, unused;  // what at::_flash_attention_backward wants back
};
// libtorch's FlashAttention-2 over dense rows of n sequences: q T [total_q, Hq, D], k and v T [total_k, Hk, D], strided
// rows allowed. starts_q and starts_k int32 [n + 1] on the device. Causal, aligned at the end: the last query of a
// sequence sees all its keys, the one before it all but the last, and so on. Allocates its results; don't record.
FlashResult FlashAttention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& starts_q,
                           const at::Tensor& starts_k, int64_t max_q, int64_t max_k);

}  // namespace tactus::ops::cuda
