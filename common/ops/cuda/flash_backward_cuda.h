// The backward pass of attention_cuda.h's FlashAttention. Internal to common/ops/cuda: see training_attention_cuda.h.
#pragma once

#include "common/ops/cuda/flash_attention_cuda.h"

namespace tactus::ops::cuda {

struct FlashGradients {
  at::Tensor dq, dk, dv;  // T [total, heads, D]
};
// Of a call whose queries and keys are the same sequences: starts int32 [n + 1]. The same bits in every run.
FlashGradients FlashAttentionBackward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                                      const at::Tensor& v, const FlashResult& forward, const at::Tensor& starts,
                                      int64_t longest);

}  // namespace tactus::ops::cuda
