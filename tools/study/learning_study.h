// The figures of `tactus study`: what runs of several variants and seeds came to, with intervals over seeds. Pure
// functions, thread-safe. docs/recipes/compare-variants.md has the definitions. A number that was not measured is NaN.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "common/metrics/eval_stats.h"
#include "common/metrics/held_out.h"

namespace tactus {

// A finished run of S steps.
struct LearningRun {
  size_t variant = 0;  // of the plan
  uint64_t seed = 0;
  int64_t samples_per_step = 0;              // completions trained
  std::vector<double> reward = {};           // [S] mean of each step
  std::vector<double> time_s = {};           // [S] since the start of the run, at each step's end
  std::vector<HeldOutRecord> held_out = {};  // before, during and after
};

struct LearningOptions {
  std::vector<std::string> variants = {};  // names; the first is the baseline
  int reward_steps = 10;
  double target_reward = 0;  // NaN: half of the way that the baseline went
  double smallest_effect = 0.02;
};

// What a run is measured by.
enum class Outcome { kMeanReward, kLastReward, kHeldOut };
inline constexpr std::array kOutcomes = {Outcome::kMeanReward, Outcome::kLastReward, Outcome::kHeldOut};
const char* TitleOf(Outcome outcome);  // for a table
const char* KeyOf(Outcome outcome);    // for JSON
double OutcomeOf(const LearningRun& run, Outcome outcome, int reward_steps);

// When the mean reward of `reward_steps` steps in a row first reached `target`: the last of these steps, from 1, and
// its time. 0 and NaN: never.
struct TimeToReward {
  int64_t step = 0;
  double time_s = 0;
};
TimeToReward TimeTo(const LearningRun& run, double target, int reward_steps);

struct VariantFigures {
  std::string name;
  int64_t runs = 0;
  std::array<Interval, kOutcomes.size()> outcomes;  // over runs
  int64_t reached = 0;                              // runs that reached the target
  double median_step = 0,
         median_time_s = 0;     // over runs, one that never reached it counting as the longest; NaN: never
  double time_s = 0;            // mean of a whole run
  std::vector<Interval> curve;  // [bins] mean reward over equal parts of the runs
};

struct DifferenceFigures {
  std::string name;   // of the variant whose outcomes less the baseline's these are
  int64_t pairs = 0;  // seeds of which both have finished
  struct Figures {
    Interval difference;   // over pairs
    double p_value = 0;    // two-sided, Student's t of the pairs
    double power = 0;      // to find a true difference of smallest_effect, going by the pairs' deviation
    int seeds_needed = 0;  // for a power of 0.8; 0: more than kMostValues, or not known
  };
  std::array<Figures, kOutcomes.size()> outcomes;
};

struct LearningSummary {
  double target_reward = 0;
  std::vector<double> curve_samples;  // [bins] completions trained at the end of each part
  std::vector<VariantFigures> variants;
  std::vector<DifferenceFigures> differences;  // of all variants but the first
};
// At most this many parts, and no more than the shortest run has steps.
inline constexpr size_t kCurveParts = 24;
// Every run has at least a step, and all were trained on equally many completions. Variants without a run have NaN.
LearningSummary SummarizeLearning(const std::vector<LearningRun>& runs, const LearningOptions& options);

}  // namespace tactus
