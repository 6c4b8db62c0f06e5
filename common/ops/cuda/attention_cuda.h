// Causal grouped-query attention over paged keys and values on a GPU, and what the attention rhythm measures of it.
//
// Shapes: Hq query heads, Hk key/value heads, group Hq / Hk, D head size (a multiple of 16, at most 128). Pages: K and
// V of one layer, T [pages, Hk, 16, D] each (both token-major, unlike the CPU's). T: float32, bfloat16 or half, of q,
// pages and output alike. Scores, exponentials and sums are float32. Algorithm: FlashAttention-2 (arXiv 2307.08691) and
// its split over keys for decoding, on pages as in PagedAttention (arXiv 2309.06180).
//
// Pointers are device memory that stays until the queue has run the call. Unless it says otherwise a call enqueues on
// the current queue, neither blocks nor allocates and can be recorded in a device::Graph; what shapes or types it does
// not support throws std::invalid_argument. One thread per queue.
#pragma once

#include <c10/core/ScalarType.h>
#include <c10/macros/Macros.h>

#include <cstddef>
#include <cstdint>

#include "common/ops/attention_types.h"  // AttentionShape, kPageTokens
#include "common/ops/step_sizes.h"       // kSplitTokens, kMaxSplits

namespace tactus::ops::cuda {

inline constexpr int64_t kMaxHeadDim = 128;

// Keys of a row are cut into splits of SplitTokens(n) tokens, which depends on the row's own number of keys alone: so a
// row's bits do not depend on its neighbours, nor on the launch it is part of.
C10_HOST_DEVICE constexpr int64_t SplitTokens(int64_t context_tokens) {
  const int64_t longest = kSplitTokens * kMaxSplits;
  return kSplitTokens * (context_tokens <= longest ? 1 : (context_tokens + longest - 1) / longest);
}

// What is measured of the rows of one layer (ops::AttentionTap, docs/rhythm.md): of row r's H heads, the layer's Hq
// from first_head on are set. Nothing is added up here: sums over rows are the host's.
struct DecodeTap {
  int64_t window_tokens = 0;                               // W
  int64_t horizon_min_tokens = 0, horizon_max_tokens = 0;  // as of AttentionProbe; the latter may be huge
  int64_t num_heads = 0, first_head = 0;                   // H and where the layer begins
  const int32_t* prompt_tokens = nullptr;                  // [R] P of the row's sequence; negative: row not measured
  float* span = nullptr;                                   // [R, H] = sum_j p_j * distance_j
  float* waad = nullptr;                                   // [R, H] = sum_j p_j * min(distance_j, W)
  // [R, H, fai_tokens]: element s = p of the key at distance horizon_min + s where the horizon holds it and it is part
  // of the response, else 0. Distances from horizon_min + fai_tokens on are left out: give
  // min(horizon_max, the longest measured response) - horizon_min + 1, at least 1.
  float* fai = nullptr;
  int64_t fai_tokens = 0;
  // Null, or [K, H, probs_tokens] = p_j of the K rows that are to keep them, 0 past the row's own position: at least
  // all contexts.
  float* probs = nullptr;
  int64_t probs_tokens = 0;
  const int32_t* probs_place = nullptr;  // [R] which of the K a row is; negative: none
};

// One query row against the keys of its sequence up to its own, for each of R rows. Decoding: one row per sequence.
// Prefill of float32 models (and in the emulation, of all): the same call with every row of every run, whose keys are
// in the pages already; a row has the same bits either way.
struct DecodeAttentionArgs {
  AttentionShape shape;
  at::ScalarType type = at::ScalarType::Float;  // T
  int64_t rows = 0;                             // R
  const void* q = nullptr;                      // T, row i at q + i * q_row: Hq * D numbers, starts 16-byte aligned
  int64_t q_row = 0;
  void* out = nullptr;  // T, row i at out + i * out_row
  int64_t out_row = 0;
  const int32_t* row_index = nullptr;       // [R] i of row r; null: i = r
  const int32_t* context_tokens = nullptr;  // [R] keys of the row, its own with them; 0: padding, whose output is 0
  const int32_t* page_tables = nullptr;     // [tables, table_pages]
  int64_t table_pages = 0;
  const int32_t* table_index = nullptr;  // [R] which table; null: table r
  const void* keys = nullptr;
  const void* values = nullptr;
  int64_t max_context_tokens = 0;  // no row's context_tokens is larger; at most 16 * table_pages. Sizes the launch
  void* workspace = nullptr;       // DecodeWorkspaceBytes(shape, rows, max_context_tokens)
  float* log_sum_exp = nullptr;    // null, or [R, Hq]: of scaled scores, nats
  const DecodeTap* tap = nullptr;  // null: nothing is measured. Measuring changes no bit of the output
};
size_t DecodeWorkspaceBytes(const AttentionShape& shape, int64_t rows, int64_t max_context_tokens);
void DecodeAttention(const DecodeAttentionArgs& args);

// Keys and values of n sequences, out of their pages into dense rows T [total, Hk, D]: sequence s takes rows
// starts[s] … starts[s + 1] - 1 for its positions from 0 on. starts int32 [n + 1], starts[n] = total; sequence s has
// page table s of page_tables int32 [n, table_pages].
struct GatherPagesArgs {
  AttentionShape shape;
  at::ScalarType type = at::ScalarType::Float;
  int64_t sequences = 0;   // n
  int64_t max_tokens = 0;  // no sequence is longer. Sizes the launch
  const int32_t* starts = nullptr;
  const int32_t* page_tables = nullptr;
  int64_t table_pages = 0;
  const void* keys = nullptr;
  const void* values = nullptr;
  void* dense_keys = nullptr;
  void* dense_values = nullptr;
};
void GatherPages(const GatherPagesArgs& args);

}  // namespace tactus::ops::cuda
