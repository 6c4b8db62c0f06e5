#include "learner/algo/advantage.h"

#include <algorithm>
#include <cmath>

namespace tactus {

bool IsZeroSignal(std::span<const double> rewards) {
  return std::all_of(rewards.begin(), rewards.end(), [&](double reward) { return reward == rewards.front(); });
}

void GroupAdvantages(Estimator estimator, std::span<const double> rewards, std::span<double> advantages) {
  if (IsZeroSignal(rewards)) {  // asked exactly: the mean of equal numbers may be off by a rounding
    std::fill(advantages.begin(), advantages.end(), 0.0);
    return;
  }
  const double count = static_cast<double>(rewards.size());
  double sum = 0;
  for (double reward : rewards) sum += reward;
  const double mean = sum / count;
  double squares = 0;
  for (double reward : rewards) squares += (reward - mean) * (reward - mean);
  const double deviation = std::sqrt(squares / count);
  for (size_t i = 0; i < rewards.size(); ++i) {
    switch (estimator) {
      case Estimator::kGrpo:
        advantages[i] = (rewards[i] - mean) / (deviation + 1e-6);
        break;
      case Estimator::kDrGrpo:
        advantages[i] = rewards[i] - mean;
        break;
      case Estimator::kRloo:
        advantages[i] = rewards[i] - (sum - rewards[i]) / (count - 1);
        break;
    }
  }
}

}  // namespace tactus
