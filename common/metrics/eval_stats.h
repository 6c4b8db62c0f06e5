// Estimates with intervals, for evaluations and studies. Pure functions, thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace tactus {

struct Interval {
  double value = 0, low = 0, high = 0;  // 95 %
};

// The chance that at least one of k samples is right, estimated without bias from `correct` of `samples`:
// 1 - C(n - c, k) / C(n, k) (Chen et al., "Evaluating large language models trained on code", 2021). 1 <= k <= samples.
double PassAtK(int samples, int correct, int k);

// Wilson's score interval of a share of independent trials. trials > 0.
Interval WilsonInterval(int64_t successes, int64_t trials);

// Percentile bootstrap of a mean over prompts; the resamples are keyed by `seed`. values not empty.
Interval BootstrapInterval(const std::vector<double>& values, uint64_t seed);

// The same of the sum of numerators over the sum of denominators; a resample draws both of one unit together. One list
// each, of one length; denominators >= 0, and not all 0. Resamples whose denominators are all 0 do not count.
Interval BootstrapRatio(const std::vector<double>& numerators, const std::vector<double>& denominators, uint64_t seed);

// What `samples` answers to each prompt say of a policy, `correct` of each prompt's being right.
struct PassEstimate {
  Interval pass1;                  // the share of right answers: the mean over prompts of the mean over their samples
  bool pass1_by_prompt = false;    // its interval is a bootstrap over prompts; otherwise Wilson's
  std::optional<Interval> pass_k;  // that one of a prompt's `samples` is right; nullopt: there is one
};

// `correct` is not empty; the bootstrap is keyed by `seed`.
PassEstimate EstimatePass(int samples, const std::vector<int>& correct, uint64_t seed);

// The p quantile of a sorted list that is not empty, linear between order statistics.
double SortedQuantile(const std::vector<double>& sorted, double p);

}  // namespace tactus
