#include "tools/study/learning_study.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <numeric>

#include "tools/study/student.h"

namespace tactus {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

// Of values[begin, end), not empty.
double MeanOf(const std::vector<double>& values, size_t begin, size_t end) {
  return std::accumulate(values.begin() + static_cast<std::ptrdiff_t>(begin),
                         values.begin() + static_cast<std::ptrdiff_t>(end), 0.0) /
         static_cast<double>(end - begin);
}

size_t Window(const LearningRun& run, int reward_steps) {
  return std::min(run.reward.size(), static_cast<size_t>(reward_steps));
}

std::vector<const LearningRun*> RunsOf(const std::vector<LearningRun>& runs, size_t variant) {
  std::vector<const LearningRun*> of;
  for (const LearningRun& run : runs) {
    if (run.variant == variant) of.push_back(&run);
  }
  return of;
}

// Those that are numbers.
Interval IntervalOf(std::vector<double> values) {
  std::erase_if(values, [](double value) { return !std::isfinite(value); });
  return StudentInterval(values);
}

// Infinite values count; NaN: the median is one of these, or between one and another.
double Median(std::vector<double> values) {
  if (values.empty()) return kNone;
  std::ranges::sort(values);
  const double below = values[(values.size() - 1) / 2], above = values[values.size() / 2];
  return std::isfinite(above) ? (below + above) / 2 : kNone;
}

VariantFigures FiguresOf(const std::vector<const LearningRun*>& runs, const LearningOptions& options, double target,
                         size_t parts) {
  VariantFigures figures;
  figures.runs = static_cast<int64_t>(runs.size());
  std::vector<double> steps, times_s, whole_s;
  for (const LearningRun* run : runs) {
    const TimeToReward time = TimeTo(*run, target, options.reward_steps);
    figures.reached += time.step > 0 ? 1 : 0;
    constexpr double kNever = std::numeric_limits<double>::infinity();
    steps.push_back(time.step > 0 ? static_cast<double>(time.step) : kNever);
    times_s.push_back(time.step > 0 ? time.time_s : kNever);
    whole_s.push_back(run->time_s.back());
  }
  figures.median_step = Median(steps);
  figures.median_time_s = Median(times_s);
  figures.time_s = IntervalOf(whole_s).value;
  for (size_t o = 0; o < kOutcomes.size(); ++o) {
    std::vector<double> values;
    values.reserve(runs.size());
    for (const LearningRun* run : runs) values.push_back(OutcomeOf(*run, kOutcomes[o], options.reward_steps));
    figures.outcomes[o] = IntervalOf(std::move(values));
  }
  for (size_t part = 0; part < parts; ++part) {
    std::vector<double> means;
    for (const LearningRun* run : runs) {
      const size_t count = run->reward.size();
      means.push_back(MeanOf(run->reward, part * count / parts, (part + 1) * count / parts));
    }
    figures.curve.push_back(IntervalOf(std::move(means)));
  }
  return figures;
}

DifferenceFigures DifferenceOf(const std::vector<const LearningRun*>& runs,
                               const std::vector<const LearningRun*>& baseline, const LearningOptions& options) {
  DifferenceFigures figures;
  std::array<std::vector<double>, kOutcomes.size()> differences;
  for (const LearningRun* run : runs) {
    const auto pair = std::ranges::find(baseline, run->seed, [](const LearningRun* one) { return one->seed; });
    if (pair == baseline.end()) continue;
    ++figures.pairs;
    for (size_t o = 0; o < kOutcomes.size(); ++o) {
      const double difference =
          OutcomeOf(*run, kOutcomes[o], options.reward_steps) - OutcomeOf(**pair, kOutcomes[o], options.reward_steps);
      if (std::isfinite(difference)) differences[o].push_back(difference);
    }
  }
  for (size_t o = 0; o < kOutcomes.size(); ++o) {
    const double deviation = Deviation(differences[o]);
    figures.outcomes[o] = {
        .difference = StudentInterval(differences[o]),
        .p_value = StudentPValue(differences[o]),
        .power = StudentPower(options.smallest_effect, deviation, static_cast<int>(differences[o].size())),
        .seeds_needed = ValuesForPower(options.smallest_effect, deviation)};
  }
  return figures;
}

// Half of the way from the first to the last mean of reward_steps, over the baseline's runs.
double HalfWay(const std::vector<const LearningRun*>& baseline, int reward_steps) {
  if (baseline.empty()) return kNone;
  double sum = 0;
  for (const LearningRun* run : baseline) {
    sum +=
        (MeanOf(run->reward, 0, Window(*run, reward_steps)) + OutcomeOf(*run, Outcome::kLastReward, reward_steps)) / 2;
  }
  return sum / static_cast<double>(baseline.size());
}

}  // namespace

const char* TitleOf(Outcome outcome) {
  switch (outcome) {
    case Outcome::kMeanReward:
      return "mean reward of the run";
    case Outcome::kLastReward:
      return "reward at the end";
    case Outcome::kHeldOut:
      return "held-out pass@1 after";
  }
  std::abort();  // the enum is closed
}

const char* KeyOf(Outcome outcome) {
  switch (outcome) {
    case Outcome::kMeanReward:
      return "mean_reward";
    case Outcome::kLastReward:
      return "last_reward";
    case Outcome::kHeldOut:
      return "held_out_pass1";
  }
  std::abort();  // the enum is closed
}

double OutcomeOf(const LearningRun& run, Outcome outcome, int reward_steps) {
  const size_t steps = run.reward.size();
  switch (outcome) {
    case Outcome::kMeanReward:
      return MeanOf(run.reward, 0, steps);
    case Outcome::kLastReward:
      return MeanOf(run.reward, steps - Window(run, reward_steps), steps);
    case Outcome::kHeldOut:
      for (const HeldOutRecord& record : run.held_out) {
        if (record.step == static_cast<int64_t>(steps)) return record.pass1;
      }
      return kNone;
  }
  std::abort();  // the enum is closed
}

TimeToReward TimeTo(const LearningRun& run, double target, int reward_steps) {
  const size_t window = Window(run, reward_steps);
  for (size_t end = window; end <= run.reward.size(); ++end) {
    if (MeanOf(run.reward, end - window, end) >= target) return {static_cast<int64_t>(end), run.time_s[end - 1]};
  }
  return {0, kNone};
}

LearningSummary SummarizeLearning(const std::vector<LearningRun>& runs, const LearningOptions& options) {
  LearningSummary summary;
  const std::vector<const LearningRun*> baseline = RunsOf(runs, 0);
  summary.target_reward =
      std::isfinite(options.target_reward) ? options.target_reward : HalfWay(baseline, options.reward_steps);
  size_t parts = runs.empty() ? 0 : kCurveParts;
  for (const LearningRun& run : runs) parts = std::min(parts, run.reward.size());
  for (size_t part = 0; part < parts; ++part) {
    const auto all =
        static_cast<double>(runs.front().samples_per_step) * static_cast<double>(runs.front().reward.size());
    summary.curve_samples.push_back(all * static_cast<double>(part + 1) / static_cast<double>(parts));
  }
  for (size_t variant = 0; variant < options.variants.size(); ++variant) {
    const std::vector<const LearningRun*> its = RunsOf(runs, variant);
    summary.variants.push_back(FiguresOf(its, options, summary.target_reward, parts));
    summary.variants.back().name = options.variants[variant];
    if (variant == 0) continue;
    summary.differences.push_back(DifferenceOf(its, baseline, options));
    summary.differences.back().name = options.variants[variant];
  }
  return summary;
}

}  // namespace tactus
