// What is taken off a verifier's reward before it is compared with others.
//
//   overlong  0 up to max - buffer tokens, then falling linearly to -penalty at max tokens and there on
//             (soft overlong punishment: Yu et al., "DAPO", arXiv 2503.14476, equation 13)
//   kl        kl_beta times the sum of the estimates of all tokens, with the log-probs that sampled them
//
// Pure functions: thread-safe.
#pragma once

#include <cstdint>

#include "learner/algo/policy_loss.h"

namespace tactus {

struct RewardShapingOptions {
  int64_t max_tokens = 0;     // where an answer is cut off
  int64_t buffer_tokens = 0;  // 0 = no penalty
  double penalty = 1;
  double kl_beta = 0;  // 0 = no KL in the reward
  KlEstimator kl_estimator = KlEstimator::kK3;

  bool changes_rewards() const { return buffer_tokens > 0 || kl_beta != 0; }
};

// 0 or less, of an answer of so many tokens.
double OverlongPenalty(const RewardShapingOptions& options, int64_t tokens);

}  // namespace tactus
