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
// An answer may have one reward, or one for each turn of a conversation. Then each turn has an advantage of its own,
// made as above of the returns R_k = r_k + r_{k+1} + ... + r_{K-1}, each compared with those of the group's answers
// that reached the same turn k: normalised returns by turn (Ding et al., "Group Turn Policy Optimization", arXiv
// 2511.14846), not discounted. REINFORCE++ compares all turns of the batch, and its baseline variant divides by their
// deviation.
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

// [group][completion][turn].
using PerTurn = std::vector<std::vector<std::vector<double>>>;

// The same of rewards[g][i][k], of turn k of completion i, whose number of turns is its own. With one turn each these
// are BatchAdvantages.
PerTurn TurnAdvantages(Estimator estimator, const PerTurn& rewards);

}  // namespace tactus
