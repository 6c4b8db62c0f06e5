// The backward pass of attention_cuda.h's FlashAttention. Internal to common/ops/cuda: see training_attention_cuda.h.
#pragma once

#include "common/ops/cuda/flash_attention_cuda.h"

namespace tactus::ops::cuda {

struct FlashGradients {
  at::Tensor dq, dk, dv;  // T [total, heads, D]
};
// Of a call of FlashAttention with these starts; no sequence has more than `longest` queries or keys. The same bits in
// every run.
FlashGradients FlashAttentionBackward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                                      const at::Tensor& v, const FlashResult& forward, const at::Tensor& starts_q,
                                      const at::Tensor& starts_k, int64_t longest);

// out [T, heads, D] += `gradients` [K, heads, D], each to the row that `rows` int32 [K] names. The same bits in every
// run.
void AddByRow(const at::Tensor& gradients, const at::Tensor& rows, at::Tensor& out);

}  // namespace tactus::ops::cuda
