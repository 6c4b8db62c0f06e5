#include "learner/train/step_stats.h"

#include <algorithm>
#include <cmath>

#include "common/data/turns.h"

namespace tactus {
namespace {

struct Sums {
  double completions = 0, rewards = 0, correct = 0, well_formed = 0, tokens = 0, entropy = 0, staleness = 0,
         staleness_max = 0, conversations = 0, turns = 0;
};

double Staleness(PolicyVersion version, PolicyVersion current) {
  return std::max(0.0, static_cast<double>(current.step) - static_cast<double>(version.step));
}

void AddCompletion(const Completion& completion, PolicyVersion current, Sums& sums) {
  const auto length = static_cast<int64_t>(completion.token_ids.size());
  sums.completions += 1;
  sums.rewards += completion.reward.total;
  sums.correct += completion.reward.correct;
  sums.well_formed += completion.reward.format > 0 || completion.reward.correct > 0 ? 1 : 0;
  sums.conversations += completion.turns.empty() ? 0 : 1;
  sums.turns += static_cast<double>(completion.turns.size());
  sums.tokens += static_cast<double>(SampledTokens(completion));
  for (const float entropy : completion.entropy) sums.entropy += entropy;
  for (size_t i = 0; i < completion.versions.size(); ++i) {
    const bool last = i + 1 == completion.versions.size();
    const int64_t end = last ? length : completion.versions[i + 1].start_token;
    const double staleness = Staleness(completion.versions[i].version, current);
    sums.staleness +=
        staleness * static_cast<double>(SampledBetween(completion, completion.versions[i].start_token, end));
    sums.staleness_max = std::max(sums.staleness_max, staleness);
  }
}

}  // namespace

void FillGroupStats(std::span<const TrajectoryGroup* const> groups, PolicyVersion current, AdvantageLevel level,
                    StepRecord& stats) {
  Sums sums;
  double zero_signal = 0;
  for (const TrajectoryGroup* group : groups) {
    for (const Completion& completion : group->completions) AddCompletion(completion, current, sums);
    zero_signal += EqualRewards(group->completions, level) ? 1 : 0;
  }
  const double completions = std::max(1.0, sums.completions), tokens = std::max(1.0, sums.tokens);
  stats.reward_mean = sums.rewards / completions;
  double squares = 0;
  for (const TrajectoryGroup* group : groups) {
    for (const Completion& completion : group->completions) {
      squares += (completion.reward.total - stats.reward_mean) * (completion.reward.total - stats.reward_mean);
    }
  }
  stats.reward_std = std::sqrt(squares / completions);
  stats.correct_rate = sums.correct / completions;
  stats.format_rate = sums.well_formed / completions;
  stats.reward_format = stats.reward_mean - stats.correct_rate;
  stats.zero_signal_share = zero_signal / std::max(1.0, static_cast<double>(groups.size()));
  stats.completion_tokens_mean = sums.tokens / completions;
  if (sums.conversations > 0) stats.turns_mean = sums.turns / sums.conversations;
  stats.entropy_mean = sums.entropy / tokens;
  stats.staleness_mean = sums.staleness / tokens;
  stats.staleness_max = sums.staleness_max;
}

}  // namespace tactus
