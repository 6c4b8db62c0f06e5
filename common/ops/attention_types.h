// What attention is told on every backend: the shape of heads, whose rows a step has, and what is measured of them.
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

// Measures, in the pass that computes it, the attention of one run's last row: H heads of which a layer has Hq, row t
// of a response that starts at position P (docs/rhythm.md). A run without a tap has span_sum null.
struct AttentionTap {
  int64_t prompt_tokens = 0;   // P; the row's own position is at least P
  int64_t num_heads = 0;       // H
  double* span_sum = nullptr;  // [H] += sum_j p_j * distance_j
  double* mass_sum = nullptr;  // null, or [H] += sum_j p_j, both without key 0
  float* waad = nullptr;       // [H, 16], element 0 of each head is set: sum_j p_j * min(distance_j, window)
  float* fai_sum = nullptr;    // [pages from position P on, H, 16] += p_j where the horizon holds j and j >= P
  float* probs = nullptr;      // null, or [rows of probs_index, probs_row] = p, zero up to the end of the row's page
  int64_t probs_row = 0;
  // Null: probs has all heads. Else [H]: which row of probs is a head's, -1 for none.
  const int32_t* probs_index = nullptr;
};

// What all taps of a step measure.
struct AttentionProbe {
  std::vector<int32_t> layers = {};  // increasing; head h of layers[i] is head i * Hq + h of the H
  int64_t window_tokens = 0;
  int64_t horizon_min_tokens = 0, horizon_max_tokens = 0;
  bool ignore_first_token = false;  // spans leave out what goes to key 0: taps have mass_sum
  int64_t flow_row_entries = 0;     // entries kept of each row's mean attention (common/rhythm/flow.h); 0: none is
};

}  // namespace ops
}  // namespace tactus
