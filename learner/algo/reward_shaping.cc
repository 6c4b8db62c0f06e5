#include "learner/algo/reward_shaping.h"

#include <algorithm>

namespace tactus {

double OverlongPenalty(const RewardShapingOptions& options, int64_t tokens) {
  if (options.buffer_tokens <= 0) return 0;
  const int64_t beyond = std::max<int64_t>(0, tokens - (options.max_tokens - options.buffer_tokens));
  return -options.penalty * std::min(1.0, static_cast<double>(beyond) / static_cast<double>(options.buffer_tokens));
}

}  // namespace tactus
