// How whole sequences lie in packed rows. Sequences that begin alike, as the answers to one prompt, have the rows of
// what they have in common once.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace tactus::ops {

// Sequence s has the rows [starts[s], starts[s + 1]). What stands before them are its first shared[s] tokens: the first
// rows of the last sequence up to it that shares none, the head of its family. So three answers that share 7 tokens and
// have 5, 4 and 3 of their own are starts {0, 12, 16, 19}, shared {0, 7, 7}.
struct PackedLayout {
  std::span<const int64_t> starts;       // [n + 1] increasing, first 0
  std::span<const int64_t> shared = {};  // [n], of the first 0, else 0 or the same in a family and no more than the
                                         // head has; or empty: nothing is shared
};

// One sequence as ops want it.
struct PackedSequence {
  int64_t first_row = 0;
  int64_t num_rows = 0;    // its own
  int64_t shared = 0;      // tokens before them, at
  int64_t head_row = 0;    // rows [head_row, head_row + shared)
  int64_t given = 0;       // of its first rows, those that the sequences behind it share
  int64_t family_end = 0;  // the row after the last of them; without any after its own

  int64_t end_row() const { return first_row + num_rows; }
  int64_t tokens() const { return shared + num_rows; }
};

inline std::vector<PackedSequence> SequencesOf(const PackedLayout& layout) {
  std::vector<PackedSequence> sequences;
  size_t head = 0;
  for (size_t s = 0; s + 1 < layout.starts.size(); ++s) {
    const int64_t shared = layout.shared.empty() ? 0 : layout.shared[s];
    if (shared == 0) head = s;
    const int64_t first = layout.starts[s], end = layout.starts[s + 1];
    sequences.push_back({.first_row = first,
                         .num_rows = end - first,
                         .shared = shared,
                         .head_row = layout.starts[head],
                         .family_end = end});
    if (shared == 0) continue;
    sequences[head].given = shared;
    sequences[head].family_end = end;
  }
  return sequences;
}

// Where each row stands in its sequence.
inline std::vector<int32_t> PositionsOf(std::span<const PackedSequence> sequences) {
  std::vector<int32_t> positions;
  for (const PackedSequence& s : sequences) {
    for (int64_t at = s.shared; at < s.tokens(); ++at) positions.push_back(static_cast<int32_t>(at));
  }
  return positions;
}

}  // namespace tactus::ops
