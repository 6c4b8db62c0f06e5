// Which targets of a batch its backward pass has to look at. Internal to common/model.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/ops/token_types.h"

namespace tactus {

// Those whose log-prob carries a gradient: groups of equal rewards carry none.
struct WeightedTargets {
  std::vector<int32_t> rows, targets;
  std::vector<float> dlogprobs;
  std::vector<ops::TokenLogProb> stats;

  // Of all targets' rows, tokens and statistics [N], given d loss / d logprob [N].
  WeightedTargets(std::span<const float> gradient, std::span<const int32_t> all_rows,
                  std::span<const int32_t> all_targets, std::span<const ops::TokenLogProb> all_stats) {
    for (size_t i = 0; i < gradient.size(); ++i) {
      if (gradient[i] == 0) continue;
      rows.push_back(all_rows[i]);
      targets.push_back(all_targets[i]);
      dlogprobs.push_back(gradient[i]);
      stats.push_back(all_stats[i]);
    }
  }
};

}  // namespace tactus
