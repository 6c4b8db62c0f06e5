// From the rewards of one prompt's completions to their advantages.
//
//   GRPO      (r - mean) / (std + 1e-6), population std    Shao et al., "DeepSeekMath", arXiv 2402.03300
//   Dr. GRPO  r - mean                                     Liu et al., "Understanding R1-Zero-Like Training",
//   2503.20783 RLOO      r - mean of the others                       Ahmadian et al., "Back to Basics", arXiv
//   2402.14740
//
// A group of one, or of equal rewards, carries no signal: its advantages are exactly 0. Pure functions: thread-safe.
#pragma once

#include <span>

namespace tactus {

enum class Estimator { kGrpo, kDrGrpo, kRloo };

// A group of one, or of equal rewards.
bool IsZeroSignal(std::span<const double> rewards);

// rewards [G] of one group, finite -> advantages [G].
void GroupAdvantages(Estimator estimator, std::span<const double> rewards, std::span<double> advantages);

}  // namespace tactus
