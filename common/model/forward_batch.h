// One step's work for DecoderLm: which tokens, of which sequences, at which positions. No torch here: schedulers and
// their tests use it too.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/data/types.h"

namespace tactus {

inline constexpr int kPageTokens = 16;  // tokens one page of the key/value cache holds

// Consecutive rows of a step that belong to one sequence.
struct SequenceRun {
  int64_t first_row = 0;
  int64_t num_rows = 0;
  int64_t start_position = 0;           // position in its sequence of the first row; earlier ones are in the cache
  std::span<const int32_t> page_table;  // page of positions 16i … 16i+15; covers start_position + num_rows
};

// One step's work. Runs are disjoint, in row order, and cover all rows.
struct ForwardBatch {
  std::vector<TokenId> token_ids;  // [T]
  std::vector<SequenceRun> runs;
};

}  // namespace tactus
