// Which targets of a batch its backward pass has to look at. Internal to common/model.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/model/target_gradient.h"
#include "common/ops/token_types.h"

namespace tactus {

// Those whose log-prob or entropy carries a gradient: groups of equal rewards carry none of the former.
struct WeightedTargets {
  std::vector<int32_t> rows, targets;
  std::vector<float> dlogprobs, dentropies;  // the latter empty where none has a gradient
  std::vector<ops::TokenLogProb> stats;

  // Of all targets' rows, tokens and statistics [N].
  WeightedTargets(const TargetGradient& gradient, std::span<const int32_t> all_rows,
                  std::span<const int32_t> all_targets, std::span<const ops::TokenLogProb> all_stats) {
    for (size_t i = 0; i < gradient.logprobs.size(); ++i) {
      if (gradient.logprobs[i] == 0 && (gradient.entropies.empty() || gradient.entropies[i] == 0)) continue;
      rows.push_back(all_rows[i]);
      targets.push_back(all_targets[i]);
      dlogprobs.push_back(gradient.logprobs[i]);
      if (!gradient.entropies.empty()) dentropies.push_back(gradient.entropies[i]);
      stats.push_back(all_stats[i]);
    }
  }
};

}  // namespace tactus
