// Causal grouped-query attention of whole packed sequences on a GPU, forward and backward: training's.
//
// bfloat16 and half on a real GPU: libtorch's FlashAttention-2, told to be deterministic. Float32, and everything in
// the emulation: kernels of our own, a warp per row and head, whose sums have a fixed order; simple, not fast. Shapes:
// T rows, n sequences, Hq/Hk heads, group Hq / Hk, D head size, a multiple of 16, at most 128 (else
// std::invalid_argument). Calls enqueue on the current queue and don't block; they allocate from libtorch's allocator,
// so they can't be recorded. One thread per queue.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <cstdint>

#include "common/ops/attention_types.h"  // AttentionShape

namespace tactus::ops::cuda {

// Where the sequences lie, in device memory.
struct PackedSequences {
  at::Tensor starts;                   // int32 [n + 1]: sequence s has rows starts[s] … starts[s + 1] - 1
  const int32_t* row_begin = nullptr;  // [T] the first row of the row's sequence
  const int32_t* row_end = nullptr;    // [T] the row after its last
  int64_t rows = 0;                    // T
  int64_t longest = 0;                 // rows
};

// What the forward pass leaves for the backward pass.
struct AttentionResult {
  at::Tensor out;                // T [T, Hq, D]
  at::Tensor log_sum_exp;        // float32, laid out as the backward pass wants it
  at::Tensor rng_state, unused;  // FlashAttention's
};

// qkv T [T, (Hq + 2 Hk) D]: a row's query heads, key heads, value heads.
AttentionResult TrainingAttention(const AttentionShape& shape, const PackedSequences& sequences, const at::Tensor& qkv);

// dqkv, as qkv, from dout T [T, Hq, D].
void TrainingAttentionBackward(const AttentionShape& shape, const PackedSequences& sequences, const at::Tensor& qkv,
                               const AttentionResult& result, const at::Tensor& dout, at::Tensor& dqkv);

}  // namespace tactus::ops::cuda
