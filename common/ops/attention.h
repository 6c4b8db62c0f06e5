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

namespace tactus {

inline constexpr int kPageTokens = 16;

// Consecutive rows of a step that belong to one sequence.
struct SequenceRun {
  int64_t first_row = 0;
  int64_t num_rows = 0;
  int64_t start_position = 0;           // position in its sequence of the first row; earlier ones are in the cache
  std::span<const int32_t> page_table;  // page of positions 16i … 16i+15; covers start_position + num_rows
};

namespace ops {

struct AttentionShape {
  int64_t num_heads = 0;     // Hq
  int64_t num_kv_heads = 0;  // Hk
  int64_t head_dim = 0;      // D
};

// One layer's pages: K [pages, Hk, D, 16], V [pages, Hk, 16, D].
struct PagedKeysValues {
  float* keys = nullptr;
  float* values = nullptr;
};

// Copies the rows' keys and values [T, Hk*D], rows kv_row floats apart, into their pages.
void WritePages(const AttentionShape& shape, std::span<const SequenceRun> runs, const float* k, const float* v,
                int64_t kv_row, PagedKeysValues pages);

// out [T, Hq*D], rows out_row apart; log_sum_exp [T, Hq] or null.
void PagedAttention(const AttentionShape& shape, std::span<const SequenceRun> runs, const float* q, int64_t q_row,
                    PagedKeysValues pages, float* out, int64_t out_row, float* log_sum_exp);

// Gradients of whole sequences that start at position 0. q, k, v are rows of one [T, qkv_row] buffer, as are dq, dk,
// dv, which are overwritten. sequence_starts [n + 1].
struct AttentionBackwardArgs {
  std::span<const int64_t> sequence_starts;
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

}  // namespace ops
}  // namespace tactus
