// Figures of a study of runs, worked out by hand.
#include "tools/study/learning_study.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace tactus {
namespace {

using ::testing::ElementsAre;

// Four steps, a second each.
LearningRun RunOf(size_t variant, uint64_t seed, std::vector<double> reward, double pass1 = std::nan("")) {
  LearningRun run{.variant = variant, .seed = seed, .samples_per_step = 8, .reward = std::move(reward)};
  for (size_t step = 1; step <= run.reward.size(); ++step) run.time_s.push_back(static_cast<double>(step));
  run.held_out.push_back({.step = 0, .pass1 = 0.9});
  if (std::isfinite(pass1)) {
    run.held_out.push_back({.step = static_cast<int64_t>(run.reward.size()), .pass1 = pass1});
  }
  return run;
}

LearningOptions Options() {
  return {.variants = {"base", "other"}, .reward_steps = 2, .target_reward = 0.5, .smallest_effect = 0.1};
}

TEST(OutcomeTest, AreMeansOfTheRunAndOfItsEnd) {
  const LearningRun run = RunOf(0, 1, {0, 0.2, 0.4, 0.8}, 0.3);
  EXPECT_DOUBLE_EQ(OutcomeOf(run, Outcome::kMeanReward, 2), 0.35);
  EXPECT_DOUBLE_EQ(OutcomeOf(run, Outcome::kLastReward, 2), 0.6);
  EXPECT_DOUBLE_EQ(OutcomeOf(run, Outcome::kLastReward, 99), 0.35) << "no more steps than there are";
  EXPECT_DOUBLE_EQ(OutcomeOf(run, Outcome::kHeldOut, 2), 0.3);
  EXPECT_TRUE(std::isnan(OutcomeOf(RunOf(0, 1, {0, 0.2}), Outcome::kHeldOut, 2))) << "before is not after";
}

TEST(TimeToTest, IsTheFirstWindowThatReachesIt) {
  const LearningRun run = RunOf(0, 1, {0.9, 0, 0.4, 0.6, 1});
  EXPECT_EQ(TimeTo(run, 0.5, 2).step, 4) << "single steps do not count, the mean of two does";
  EXPECT_EQ(TimeTo(run, 0.5, 2).time_s, 4);
  EXPECT_EQ(TimeTo(run, 0.5, 1).step, 1);
  EXPECT_EQ(TimeTo(run, 0.9, 2).step, 0);
  EXPECT_TRUE(std::isnan(TimeTo(run, 0.9, 2).time_s));
  EXPECT_EQ(TimeTo(run, std::nan(""), 2).step, 0);
  EXPECT_EQ(TimeTo(run, 0.58, 99).step, 5) << "no more steps than there are";
}

TEST(SummaryTest, HasMeansAndPairedDifferences) {
  // Mean rewards 0.2, 0.3, 0.4 and 0.25, 0.36, 0.53; differences 0.05, 0.06, 0.13.
  const std::vector<LearningRun> runs = {
      RunOf(0, 1, {0, 0.2, 0.2, 0.4}, 0.5), RunOf(1, 3, {0, 0.53, 0.53, 1.06}, 0.6),
      RunOf(0, 2, {0, 0.3, 0.3, 0.6}, 0.6), RunOf(1, 1, {0, 0.25, 0.25, 0.5}, 0.5),
      RunOf(0, 3, {0, 0.4, 0.4, 0.8}, 0.7), RunOf(1, 2, {0, 0.36, 0.36, 0.72}, 0.4),
  };
  const LearningSummary summary = SummarizeLearning(runs, Options());
  ASSERT_EQ(summary.variants.size(), 2u);
  const VariantFigures& base = summary.variants[0];
  EXPECT_EQ(base.name, "base");
  EXPECT_EQ(base.runs, 3);
  // t(0.975, 2) = 4.302653; the deviation of 0.2, 0.3, 0.4 is 0.1.
  EXPECT_NEAR(base.outcomes[0].value, 0.3, 1e-12);
  EXPECT_NEAR(base.outcomes[0].high - base.outcomes[0].value, 4.302652729749462 * 0.1 / std::sqrt(3), 1e-9);
  EXPECT_NEAR(base.outcomes[1].value, 0.45, 1e-12);
  EXPECT_NEAR(base.outcomes[2].value, 0.6, 1e-12);
  EXPECT_EQ(base.time_s, 4);
  // Their windows' best means are 0.3, 0.45 and 0.6: one of three reaches 0.5, so the median does not.
  EXPECT_EQ(base.reached, 1);
  EXPECT_TRUE(std::isnan(base.median_step) && std::isnan(base.median_time_s));
  // 0.375, 0.54, 0.795 (0.53 before it): two of three do, at steps 4 and 3.
  EXPECT_EQ(summary.variants[1].reached, 2);
  EXPECT_EQ(summary.variants[1].median_step, 4);
  EXPECT_EQ(summary.variants[1].median_time_s, 4);

  ASSERT_EQ(summary.differences.size(), 1u);
  const DifferenceFigures& difference = summary.differences[0];
  EXPECT_EQ(difference.name, "other");
  EXPECT_EQ(difference.pairs, 3);
  const double deviation = std::sqrt((0.03 * 0.03 + 0.02 * 0.02 + 0.05 * 0.05) / 2);
  EXPECT_NEAR(difference.outcomes[0].difference.value, 0.08, 1e-12);
  EXPECT_NEAR(difference.outcomes[0].difference.low, 0.08 - 4.302652729749462 * deviation / std::sqrt(3), 1e-9);
  EXPECT_NEAR(difference.outcomes[0].p_value, 0.08633561484774283, 1e-9) << "t = 3.179 with 2 degrees of freedom";
  EXPECT_NEAR(difference.outcomes[2].difference.value, -0.1, 1e-12) << "0, -0.2, -0.1";
  EXPECT_GT(difference.outcomes[0].power, 0.5);
  EXPECT_EQ(difference.outcomes[0].seeds_needed, 4);
}

TEST(SummaryTest, CurvesAreOverEqualPartsOfTheRuns) {
  // Twice as many steps of half as many completions.
  LearningRun fine = RunOf(1, 1, {0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7});
  fine.samples_per_step = 4;
  const LearningSummary summary = SummarizeLearning({RunOf(0, 1, {0.1, 0.2, 0.3, 0.4}), fine}, Options());
  EXPECT_THAT(summary.curve_samples, ElementsAre(8, 16, 24, 32));
  ASSERT_EQ(summary.variants[1].curve.size(), 4u);
  EXPECT_DOUBLE_EQ(summary.variants[0].curve[2].value, 0.3);
  EXPECT_DOUBLE_EQ(summary.variants[1].curve[0].value, 0.05);
  EXPECT_DOUBLE_EQ(summary.variants[1].curve[3].value, 0.65);
  EXPECT_TRUE(std::isnan(summary.variants[1].curve[0].low)) << "of one run";
  const LearningSummary longer = SummarizeLearning({RunOf(0, 1, std::vector<double>(100, 0.5))}, Options());
  EXPECT_EQ(longer.variants[0].curve.size(), kCurveParts);
  EXPECT_EQ(longer.curve_samples.back(), 800);
}

TEST(SummaryTest, TheTargetIsHalfOfTheBaselinesWayWhereNoneIsGiven) {
  LearningOptions options = Options();
  options.target_reward = std::nan("");
  // From 0.1 to 0.6, and from 0.3 to 0.8.
  const LearningSummary summary = SummarizeLearning(
      {RunOf(0, 1, {0, 0.2, 0.5, 0.7}), RunOf(0, 2, {0.2, 0.4, 0.7, 0.9}), RunOf(1, 1, {1, 1, 1, 1})}, options);
  EXPECT_DOUBLE_EQ(summary.target_reward, 0.45);
}

TEST(SummaryTest, OfWhatHasNotFinishedNothingIsSaid) {
  const LearningSummary none = SummarizeLearning({}, Options());
  EXPECT_EQ(none.variants[0].runs, 0);
  EXPECT_TRUE(std::isnan(none.variants[0].outcomes[0].value));
  EXPECT_TRUE(none.curve_samples.empty());
  EXPECT_EQ(none.differences[0].pairs, 0);
  // Seeds without a partner are no pairs.
  const LearningSummary odd = SummarizeLearning({RunOf(0, 1, {0.1, 0.2}), RunOf(1, 2, {0.5, 0.6})}, Options());
  EXPECT_EQ(odd.differences[0].pairs, 0);
  EXPECT_TRUE(std::isnan(odd.differences[0].outcomes[0].difference.value));
  EXPECT_EQ(odd.differences[0].outcomes[0].seeds_needed, 0);
}

}  // namespace
}  // namespace tactus
