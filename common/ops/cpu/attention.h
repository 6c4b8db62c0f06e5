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
#include <vector>

#include "common/base/dtype.h"

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

// Bytes of one page, keys and values, in `layers` layers: on every backend.
constexpr int64_t KvPageBytes(const AttentionShape& shape, StorageDType dtype, int64_t layers) {
  return 2 * layers * shape.num_kv_heads * shape.head_dim * kPageTokens * BytesPerElement(dtype);
}

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

// Measures, in the pass that computes it, the attention of one run's last row: H heads of which a layer has Hq, row t
// of a response that starts at position P (docs/rhythm.md). A run without a tap has span_sum null.
struct AttentionTap {
  int64_t prompt_tokens = 0;   // P; the row's own position is at least P
  int64_t num_heads = 0;       // H
  double* span_sum = nullptr;  // [H] += sum_j p_j * distance_j
  float* waad = nullptr;       // [H, 16], element 0 of each head is set: sum_j p_j * min(distance_j, window)
  float* fai_sum = nullptr;    // [pages from position P on, H, 16] += p_j where the horizon holds j and j >= P
  float* probs = nullptr;      // null, or [H, probs_row] = p, zero up to the end of the row's page
  int64_t probs_row = 0;
};

// What all taps of a step measure.
struct AttentionProbe {
  std::vector<int32_t> layers = {};  // increasing; head h of layers[i] is head i * Hq + h of the H
  int64_t window_tokens = 0;
  int64_t horizon_min_tokens = 0, horizon_max_tokens = 0;
};

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
