#include "learner/algo/advantage.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "common/data/turn_rewards.h"

namespace tactus {
namespace {

using Rewards = std::vector<double>;

struct Moments {
  double sum = 0, mean = 0, deviation = 0;  // population
};

Moments MomentsOf(const Rewards& values) {
  const double count = static_cast<double>(values.size());
  Moments moments;
  for (const double value : values) moments.sum += value;
  moments.mean = moments.sum / count;
  double squares = 0;
  for (const double value : values) squares += (value - moments.mean) * (value - moments.mean);
  moments.deviation = std::sqrt(squares / count);
  return moments;
}

// `advantage` of each reward; exact zeros without a signal, which is asked exactly: the mean of equal numbers may be
// off by a rounding.
template <typename F>
Rewards Compared(const Rewards& rewards, F advantage) {
  Rewards advantages(rewards.size(), 0.0);
  if (IsZeroSignal(rewards)) return advantages;
  const Moments moments = MomentsOf(rewards);
  std::ranges::transform(rewards, advantages.begin(), [&](double reward) { return advantage(reward, moments); });
  return advantages;
}

double Whitened(double reward, const Moments& m) { return (reward - m.mean) / (m.deviation + 1e-6); }
double Centred(double reward, const Moments& m) { return reward - m.mean; }

std::vector<Rewards> ByGroup(const std::vector<Rewards>& rewards, double (*advantage)(double, const Moments&)) {
  std::vector<Rewards> advantages;
  for (const Rewards& group : rewards) advantages.push_back(Compared(group, advantage));
  return advantages;
}

Rewards Flat(const std::vector<Rewards>& groups) {
  Rewards flat;
  for (const Rewards& group : groups) flat.insert(flat.end(), group.begin(), group.end());
  return flat;
}

// `flat` cut into groups as `shape` is.
std::vector<Rewards> Cut(const Rewards& flat, const std::vector<Rewards>& shape) {
  std::vector<Rewards> groups;
  auto at = flat.begin();
  for (const Rewards& group : shape) {
    groups.emplace_back(at, at + static_cast<std::ptrdiff_t>(group.size()));
    at += static_cast<std::ptrdiff_t>(group.size());
  }
  return groups;
}

}  // namespace

bool IsZeroSignal(std::span<const double> rewards) {
  return std::all_of(rewards.begin(), rewards.end(), [&](double reward) { return reward == rewards.front(); });
}

std::vector<std::vector<double>> BatchAdvantages(Estimator estimator, const std::vector<std::vector<double>>& rewards) {
  switch (estimator) {
    case Estimator::kGrpo:
      return ByGroup(rewards, Whitened);
    case Estimator::kDrGrpo:
      return ByGroup(rewards, Centred);
    case Estimator::kRloo: {
      std::vector<Rewards> advantages;
      for (const Rewards& group : rewards) {
        const double others = static_cast<double>(group.size()) - 1;
        advantages.push_back(
            Compared(group, [others](double reward, const Moments& m) { return reward - (m.sum - reward) / others; }));
      }
      return advantages;
    }
    case Estimator::kReinforcePp:
      return Cut(Compared(Flat(rewards), Whitened), rewards);
    case Estimator::kReinforcePpBaseline: {
      // Each group's mean is 0 by now, and so the batch's but for roundings: subtracting it would only blur exact
      // zeros.
      const Rewards centred = Flat(ByGroup(rewards, Centred));
      return Cut(Compared(centred, [](double value, const Moments& m) { return value / (m.deviation + 1e-6); }),
                 rewards);
    }
  }
  std::abort();
}

PerTurn TurnAdvantages(Estimator estimator, const PerTurn& rewards) {
  // What is compared: of each group and turn the returns of those that reached it, one group and turn behind the other.
  std::vector<Rewards> compared;
  std::vector<size_t> first;  // of each group, where its turn 0 is compared
  for (const std::vector<Rewards>& group : rewards) {
    first.push_back(compared.size());
    for (const Rewards& completion : group) {
      const std::vector<double> returns = ReturnsOf(completion);
      compared.resize(std::max(compared.size(), first.back() + returns.size()));
      for (size_t k = 0; k < returns.size(); ++k) compared[first.back() + k].push_back(returns[k]);
    }
  }
  const std::vector<Rewards> advantages = BatchAdvantages(estimator, compared);
  std::vector<size_t> taken(compared.size(), 0);
  PerTurn by_turn = rewards;
  for (size_t g = 0; g < by_turn.size(); ++g) {
    for (Rewards& completion : by_turn[g]) {
      for (size_t k = 0; k < completion.size(); ++k) {
        const size_t place = first[g] + k;
        completion[k] = advantages[place][taken[place]++];
      }
    }
  }
  return by_turn;
}

}  // namespace tactus
