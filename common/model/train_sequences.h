// Packed sequences for a TrainableDecoder. No torch here: the packer and its tests use it too.
#pragma once

#include <cstdint>
#include <vector>

#include "common/data/types.h"

namespace tactus {

// Several sequences end to end, [T] tokens. Log-probs are wanted at `target_rows`: row i predicts targets[i]. Sequences
// that begin alike have what they share once, as ops::PackedLayout says.
struct TrainSequences {
  std::vector<TokenId> token_ids;        // [T]
  std::vector<int64_t> sequence_starts;  // [n + 1], first 0, last T
  std::vector<int32_t> target_rows;      // [N] increasing; the row that reads the token before the target
  std::vector<TokenId> targets;          // [N]
  std::vector<int64_t> shared_tokens{};  // [n] tokens before a sequence's own rows, or empty: nothing is shared
};

}  // namespace tactus
