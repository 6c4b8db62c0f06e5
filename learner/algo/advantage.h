// From the rewards of a batch of groups, one prompt's completions each, to their advantages.
//
//   GRPO      (r - mean) / (std + 1e-6), population std    Shao et al., "DeepSeekMath", arXiv 2402.03300
//   Dr. GRPO  r - mean                                     Liu et al., "Understanding R1-Zero-Like Training",
//                                                          arXiv 2503.20783
//   RLOO      r - mean of the others                       Ahmadian et al., "Back to Basics", arXiv 2402.14740
// and over the whole batch instead of the group (Hu et al., "REINFORCE++", arXiv 2501.03262):
//   REINFORCE++           (r - mean) / (std + 1e-6)
//   REINFORCE++ baseline  (r - mean of the group) / (std of these + 1e-6)
//
// Where all rewards of what is compared are equal, or there is but one, there is no signal: the advantages are exactly
// 0. Pure functions: thread-safe.
#pragma once

#include <span>
#include <vector>

namespace tactus {

enum class Estimator { kGrpo, kDrGrpo, kRloo, kReinforcePp, kReinforcePpBaseline };

// A group of one, or of equal rewards.
bool IsZeroSignal(std::span<const double> rewards);

// rewards[g][i] of completion i of group g, finite -> its advantage, at the same place. For all but REINFORCE++ a
// group's are its own, whatever else is in the batch.
std::vector<std::vector<double>> BatchAdvantages(Estimator estimator, const std::vector<std::vector<double>>& rewards);

}  // namespace tactus
