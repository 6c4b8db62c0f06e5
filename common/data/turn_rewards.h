// What the model's turns earned, as advantages are made of it. Pure; thread-safe.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "common/data/types.h"

namespace tactus {

// Of what an advantage is: of a whole answer, an episode; or of each of its turns. An answer that is no conversation is
// one turn, so that both are the same.
enum class AdvantageLevel { kEpisode, kTurn };

// The rewards that advantages are made of: the completion's one, or each turn's [K].
inline std::vector<double> RewardsOf(const Completion& completion, AdvantageLevel level) {
  if (level == AdvantageLevel::kEpisode || completion.turns.empty()) return {completion.reward.total};
  std::vector<double> rewards;
  for (const Turn& turn : completion.turns) rewards.push_back(turn.reward);
  return rewards;
}

// What is earned from each turn on: the sum of its reward and of those after it, the last one first added.
inline std::vector<double> ReturnsOf(std::span<const double> rewards) {
  std::vector<double> returns(rewards.begin(), rewards.end());
  for (size_t k = returns.size(); k-- > 1;) returns[k - 1] += returns[k];
  return returns;
}

// Whether no completion did better than another, from its start or, by turn, from any turn on that both reached: so
// that no advantage within the group follows.
inline bool EqualRewards(std::span<const Completion> completions, AdvantageLevel level) {
  std::vector<double> first;  // the first return of each turn
  for (const Completion& completion : completions) {
    const std::vector<double> returns = ReturnsOf(RewardsOf(completion, level));
    if (!std::equal(first.begin(), first.begin() + static_cast<std::ptrdiff_t>(std::min(first.size(), returns.size())),
                    returns.begin())) {
      return false;
    }
    if (returns.size() > first.size())
      first.insert(first.end(), returns.begin() + static_cast<std::ptrdiff_t>(first.size()), returns.end());
  }
  return true;
}

}  // namespace tactus
