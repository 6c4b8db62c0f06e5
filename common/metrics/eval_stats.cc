#include "common/metrics/eval_stats.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>

#include "common/base/philox.h"

namespace tactus {
namespace {

constexpr double kZ = 1.959963984540054;  // the normal distribution's 97.5 % point
constexpr size_t kMaxResamples = 2000, kMinResamples = 200;
constexpr size_t kMaxDraws = 20'000'000;

}  // namespace

double PassAtK(int samples, int correct, int k) {
  if (samples - correct < k) return 1;
  double all_wrong = 1;
  for (int i = samples - correct + 1; i <= samples; ++i) all_wrong *= 1 - static_cast<double>(k) / i;
  return 1 - all_wrong;
}

Interval WilsonInterval(int64_t successes, int64_t trials) {
  const double n = static_cast<double>(trials), p = static_cast<double>(successes) / n;
  const double centre = (p + kZ * kZ / (2 * n)) / (1 + kZ * kZ / n);
  const double half = kZ / (1 + kZ * kZ / n) * std::sqrt(p * (1 - p) / n + kZ * kZ / (4 * n * n));
  // At the ends the formula gives 0 and 1 but for rounding.
  return {p, successes == 0 ? 0.0 : std::max(0.0, centre - half),
          successes == trials ? 1.0 : std::min(1.0, centre + half)};
}

double SortedQuantile(const std::vector<double>& sorted, double p) {
  const double place = p * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (place - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

Interval BootstrapInterval(const std::vector<double>& values, uint64_t seed) {
  return BootstrapRatio(values, std::vector<double>(values.size(), 1.0), seed);
}

Interval BootstrapRatio(const std::vector<double>& numerators, const std::vector<double>& denominators, uint64_t seed) {
  const size_t n = numerators.size();
  const size_t resamples = std::clamp(kMaxDraws / n, kMinResamples, kMaxResamples);
  const double value = std::accumulate(numerators.begin(), numerators.end(), 0.0) /
                       std::accumulate(denominators.begin(), denominators.end(), 0.0);
  std::vector<double> ratios;
  for (size_t r = 0; r < resamples; ++r) {
    double above = 0, below = 0;
    PhiloxBlock block{};
    for (size_t i = 0; i < n; ++i) {
      if (i % 4 == 0) block = Philox4x32(seed, {static_cast<uint32_t>(i / 4), static_cast<uint32_t>(r), 0, 0});
      const auto drawn = static_cast<size_t>(uint64_t{block[i % 4]} * n >> 32);
      above += numerators[drawn];
      below += denominators[drawn];
    }
    if (below > 0) ratios.push_back(above / below);
  }
  if (ratios.empty()) return {value, value, value};
  std::sort(ratios.begin(), ratios.end());
  return {value, SortedQuantile(ratios, 0.025), SortedQuantile(ratios, 0.975)};
}

PassEstimate EstimatePass(int samples, const std::vector<int>& correct, uint64_t seed) {
  const auto prompts = static_cast<int64_t>(correct.size());
  std::vector<double> rates;
  int64_t solved = 0, right = 0;
  for (const int count : correct) {
    rates.push_back(PassAtK(samples, count, 1));
    solved += count > 0 ? 1 : 0;
    right += count;
  }
  PassEstimate estimate;
  // A bootstrap of equal values has no width: nothing or everything solved is judged by prompt, as one sample each.
  estimate.pass1_by_prompt = samples > 1 && right > 0 && right < prompts * samples;
  estimate.pass1 = estimate.pass1_by_prompt ? BootstrapInterval(rates, seed) : WilsonInterval(right / samples, prompts);
  // With n = k samples the estimator is 0 or 1 for each prompt.
  if (samples > 1) estimate.pass_k = WilsonInterval(solved, prompts);
  return estimate;
}

}  // namespace tactus
