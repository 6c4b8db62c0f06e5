// Sizes of an engine step on a GPU that depend on numbers alone: for what runs it, and for what predicts its memory
// (common/model/memory_need.h). Pure; no torch, no CUDA.
#pragma once

#include <algorithm>
#include <cstdint>

#include "common/ops/attention_types.h"

namespace tactus::ops {

// The smallest bucket that holds `rows`: 1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, …; not above `most` where that
// holds them.
constexpr int64_t RowBucket(int64_t rows, int64_t most) {
  int64_t bucket = 1;
  // Powers of two, and from 16 on also the places half-way between two of them.
  while (bucket < rows) {
    const bool power = (bucket & (bucket - 1)) == 0;
    if (bucket < 16) {
      bucket *= 2;
    } else {
      bucket += power ? bucket / 2 : bucket / 3;
    }
  }
  return rows <= most ? std::min(bucket, most) : bucket;
}

// The same for the pages of a page table: 16, 32, 64, …
constexpr int64_t PageBucket(int64_t pages) {
  int64_t bucket = 16;
  while (bucket < pages) bucket *= 2;
  return bucket;
}

// Of the page table of a sequence of at most so many tokens.
constexpr int64_t TablePages(int64_t tokens) { return PageBucket(tokens / kPageTokens + 1); }

// Decode attention cuts a row's keys into splits of kSplitTokens, or longer ones where that makes more than kMaxSplits.
inline constexpr int64_t kSplitTokens = 256, kMaxSplits = 64;
// Of a row with at most `max_context_tokens` keys.
constexpr int64_t MostSplits(int64_t max_context_tokens) {
  return std::clamp<int64_t>((max_context_tokens + kSplitTokens - 1) / kSplitTokens, 1, kMaxSplits);
}
inline constexpr int64_t kSplitStats = 4;  // floats before a split's output
// Of what the splits leave for the kernel that merges them; one split leaves nothing.
constexpr int64_t DecodeWorkspaceFloats(const AttentionShape& shape, int64_t rows, int64_t max_context_tokens) {
  const int64_t splits = MostSplits(max_context_tokens);
  return splits == 1 ? 0 : rows * shape.num_heads * splits * (kSplitStats + shape.head_dim);
}
// Rows of runs that decode attention takes at once: its workspace grows with them.
inline constexpr int64_t kRunRows = 256;

// Distances of which a measured row reports the attention paid, where no measured response is longer than
// `response_tokens`: the horizon's, as far as a response reaches.
inline int64_t FaiTokens(const AttentionProbe& probe, int64_t response_tokens) {
  const int64_t reach = PageBucket((response_tokens + kPageTokens - 1) / kPageTokens) * kPageTokens;
  return std::max<int64_t>(1, std::min(probe.horizon_max_tokens, reach) - probe.horizon_min_tokens + 1);
}

}  // namespace tactus::ops
