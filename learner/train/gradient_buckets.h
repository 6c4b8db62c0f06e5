// Cuts the flat buffer of gradients into the pieces that are added up over the ranks.
#pragma once

#include <cstdint>
#include <vector>

#include "common/model/folder/model_config.h"

namespace tactus {

// Long enough for the network's full speed, short enough that the first is under way early in a backward pass.
inline constexpr int64_t kGradientBucketBytes = int64_t{32} << 20;

// [begin, end) of the flat buffer, in floats.
struct GradientBucket {
  int64_t begin = 0;
  int64_t end = 0;
  bool operator==(const GradientBucket&) const = default;
};

// In the order in which the backward pass completes them: from the end of the layout to its beginning, so a bucket is
// complete when the gradient of its first parameter is. (A tied embedding, first in the layout, also gets a part from
// the head: it is complete at the very end, in the last bucket.) Each bucket holds whole parameters with the padding
// behind them, as many as fit `bucket_bytes`, at least one. Together they are the whole buffer.
// The same cuts for the same layout, hence on every rank.
std::vector<GradientBucket> CutGradientBuckets(const ParameterLayout& layout, int64_t bucket_bytes);

}  // namespace tactus
