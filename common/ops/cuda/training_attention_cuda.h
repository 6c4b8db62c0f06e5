// Causal grouped-query attention of whole packed sequences on a GPU, forward and backward: training's.
//
// bfloat16 and half on a real GPU: libtorch's FlashAttention-2, told to be deterministic. Float32, and everything in
// the emulation: kernels of our own, a warp per row and head, whose sums have a fixed order; simple, not fast.
// FlashAttention wants each sequence's keys end to end, so shared ones are copied for it, of as many sequences at a
// time as have T keys. Shapes: T rows, n sequences, Hq/Hk heads, group Hq / Hk, D head size, a multiple of 16, at most
// 128 (else std::invalid_argument). Calls enqueue on the current queue and don't block; they allocate from libtorch's
// allocator, so they can't be recorded. One thread per queue.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <vector>

#include "common/ops/attention_types.h"  // AttentionShape
#include "common/ops/cuda/flash_attention_cuda.h"

namespace tactus::ops::cuda {

// Consecutive sequences for one call of FlashAttention. K keys, shared ones counted in every sequence.
struct FlashPart {
  int64_t first_row = 0, rows = 0;
  at::Tensor starts;      // int32 [n + 1]: sequence s has the part's rows starts[s] … starts[s + 1] - 1
  at::Tensor key_starts;  // int32 [n + 1]: and keys key_starts[s] … key_starts[s + 1] - 1
  at::Tensor key_rows;    // int32 [K] the row of a key among all; undefined: nothing is shared, and there is one part
};

// The same on its way to the device: where the arrays of all parts have this one's.
struct FlashPartPlaces {
  int64_t first_row = 0, rows = 0, first_start = 0, starts = 0, first_key = 0, keys = 0;
};

// Where the sequences lie, in device memory; what a sequence shares with others: ops/packed_layout.h.
struct PackedSequences {
  std::vector<FlashPart> parts;        // of all sequences
  const int32_t* row_begin = nullptr;  // [T] the first row of the row's sequence
  const int32_t* shared = nullptr;     // [T] keys that it sees before that,
  const int32_t* head_row = nullptr;   // [T] the row of the first of them
  const int32_t* seen_end = nullptr;   // [T] the row after the last that sees this row's key
  int64_t rows = 0;                    // T
  int64_t longest = 0;                 // keys
};

// What the forward pass leaves for the backward pass.
struct AttentionResult {
  at::Tensor out;                  // T [T, Hq, D]
  at::Tensor log_sum_exp;          // float32 [T, Hq]; undefined where parts has it
  std::vector<FlashResult> parts;  // FlashAttention's, each part's `out` a view of the one above
};

// qkv T [T, (Hq + 2 Hk) D]: a row's query heads, key heads, value heads. `flash`: by FlashAttention, which the type
// has; else by kernels of our own.
AttentionResult TrainingAttention(const AttentionShape& shape, const PackedSequences& sequences, const at::Tensor& qkv,
                                  bool flash);

// dqkv, as qkv, from dout T [T, Hq, D]; the same way as forward.
void TrainingAttentionBackward(const AttentionShape& shape, const PackedSequences& sequences, const at::Tensor& qkv,
                               const AttentionResult& result, const at::Tensor& dout, at::Tensor& dqkv);

}  // namespace tactus::ops::cuda
