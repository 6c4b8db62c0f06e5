// Causal grouped-query attention over paged keys and values: one forward for decode, prefill and training, and its
// backward.
//
// Keys are visited in blocks of 16, in order, with a running maximum; the result for a query row depends only on that
// row and its keys. Algorithm: FlashAttention-2 (Dao, arXiv 2307.08691), on pages as in PagedAttention (arXiv
// 2309.06180). Shapes: T rows, Hq query heads, Hk key/value heads, D head size; q rows hold Hq*D floats. Blocking; uses
// all threads.
#pragma once

#include <cstdint>
#include <span>

#include "common/base/dtype.h"
#include "common/ops/attention_types.h"
#include "common/ops/packed_layout.h"

namespace tactus::ops {

// One layer's pages of `dtype`: K [pages, Hk, D, 16], V [pages, Hk, 16, D].
struct PagedKeysValues {
  void* keys = nullptr;
  void* values = nullptr;
  StorageDType dtype = StorageDType::kFloat32;
};

// Copies the rows' keys and values [T, Hk*D], rows kv_row floats apart, into their pages. Bfloat16 pages keep the upper
// half of each number: round before, so that what is stored is what the caller goes on with.
void WritePages(const AttentionShape& shape, std::span<const SequenceRun> runs, const float* k, const float* v,
                int64_t kv_row, PagedKeysValues pages);

// The taps of one call: a layer's heads start at first_head.
struct LayerTaps {
  const AttentionProbe* probe = nullptr;
  std::span<const AttentionTap> taps;  // one per run
  int64_t first_head = 0;
};

// out [T, Hq*D], rows out_row apart; log_sum_exp [T, Hq] or null; taps null: nothing is measured. Measuring changes no
// bit of the output.
void PagedAttention(const AttentionShape& shape, std::span<const SequenceRun> runs, const float* q, int64_t q_row,
                    PagedKeysValues pages, float* out, int64_t out_row, float* log_sum_exp,
                    const LayerTaps* taps = nullptr);

// Gradients of whole sequences. q, k, v are rows of one [T, qkv_row] buffer, as are dq, dk, dv, which are overwritten.
// Of rows that several sequences share, dk and dv are the sums over them, in their order.
struct AttentionBackwardArgs {
  std::span<const PackedSequence> sequences;  // in order, of all rows
  const float* q = nullptr;
  const float* k = nullptr;
  const float* v = nullptr;
  int64_t qkv_row = 0;
  const float* out = nullptr;          // [T, Hq*D]
  const float* dout = nullptr;         // [T, Hq*D]
  const float* log_sum_exp = nullptr;  // [T, Hq]
  float* dq = nullptr;
  float* dk = nullptr;
  float* dv = nullptr;
};
void AttentionBackward(const AttentionShape& shape, const AttentionBackwardArgs& args);

}  // namespace tactus::ops
