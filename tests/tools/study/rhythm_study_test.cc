#include "tools/study/rhythm_study.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace tactus {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

Decimal Share(const char* text) { return *Decimal::ParseShare(text, "share"); }

TEST(BootstrapRatioTest, IsTheMeanWhenDenominatorsAreOneAndHasItsSpread) {
  std::vector<double> values;
  for (int i = 0; i < 300; ++i) values.push_back(i % 3);
  const Interval mean = BootstrapInterval(values, 5), ratio = BootstrapRatio(values, std::vector<double>(300, 2.0), 5);
  EXPECT_EQ(mean.value, 1);
  EXPECT_NEAR(ratio.value, mean.value / 2, 1e-15);
  EXPECT_NEAR(ratio.low, mean.low / 2, 1e-15);
  EXPECT_NEAR(ratio.high, mean.high / 2, 1e-15);
}

// Units of (numerator, denominator) = (1, 1) and (3, 3): the ratio is 1 whatever is drawn, which a bootstrap that drew
// the two apart would not find.
TEST(BootstrapRatioTest, DrawsBothOfAUnitTogether) {
  std::vector<double> both;
  for (int i = 0; i < 50; ++i) both.push_back(i % 2 ? 3 : 1);
  const Interval ratio = BootstrapRatio(both, both, 1);
  EXPECT_EQ(ratio.low, 1);
  EXPECT_EQ(ratio.high, 1);
  const Interval some = BootstrapRatio({2, 0}, {4, 0}, 1);  // draws of the second alone have no ratio
  EXPECT_EQ(some.low, 0.5);
  EXPECT_EQ(some.high, 0.5);
}

// The delta method's interval of a ratio of means.
TEST(BootstrapRatioTest, CoversAsTheDeltaMethodSays) {
  std::mt19937_64 random(3);
  std::normal_distribution<double> normal;
  std::vector<double> x, y;
  for (int i = 0; i < 500; ++i) {
    y.push_back(5 + normal(random));
    x.push_back(0.5 * y.back() + 0.8 * normal(random));
  }
  const Interval ratio = BootstrapRatio(x, y, 9);
  double mean_y = 0, residual = 0;
  for (size_t i = 0; i < x.size(); ++i) mean_y += y[i] / 500;
  for (size_t i = 0; i < x.size(); ++i) residual += std::pow(x[i] - ratio.value * y[i], 2) / 500;
  const double half = 1.96 * std::sqrt(residual / 500) / mean_y;
  EXPECT_NEAR(ratio.value - ratio.low, half, 0.12 * half);
  EXPECT_NEAR(ratio.high - ratio.value, half, 0.12 * half);
}

Rhythm ExampleRhythm() {
  Rhythm rhythm;
  rhythm.waad = {0, 5, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0};
  rhythm.fai = {0, 0, 9, 0, 0, 0, 0, 0, 8, 0, 7, 0};  // the last two tokens are not eligible
  rhythm.receiver = {0, 0, 4, 0, 0, 3, 0, 0, 0, 0, 0, 0};
  rhythm.receiver_heads = {1};
  rhythm.eligible = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  return rhythm;
}

TEST(CouplingsOfTest, TakesPeaksAndTheLagFromTheEligiblePart) {
  const std::vector<float> entropy = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  const ResponseCouplings one = CouplingsOf(ExampleRhythm(), {}, entropy, Share("0.8"), 1);
  EXPECT_THAT(one.entropy_at_waad_peaks.picks, ElementsAre(0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0));
  EXPECT_THAT(one.entropy_at_waad_peaks.values, ElementsAre(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12));
  EXPECT_THAT(one.receiver_peak_is_fai_peak.picks, ElementsAre(0, 0, 1, 0, 0, 1, 0, 0, 0, 0));
  EXPECT_THAT(one.receiver_peak_is_fai_peak.values, ElementsAre(0, 0, 1, 0, 0, 0, 0, 0, 1, 0));
  EXPECT_THAT(one.receiver_peak_is_other_peak.picks, IsEmpty());
  EXPECT_THAT(one.fai_peak_follows_waad.picks, ElementsAre(0, 0, 1, 0, 0, 0, 0, 0, 1, 0));
  EXPECT_THAT(one.fai_peak_follows_waad.values, ElementsAre(0, 1, 1, 0, 0, 0, 1, 1, 0, 0));
  const ResponseCouplings two = CouplingsOf(ExampleRhythm(), {}, entropy, Share("0.8"), 2);
  EXPECT_THAT(two.fai_peak_follows_waad.values, ElementsAre(0, 1, 1, 1, 0, 0, 1, 1, 1, 0));
  const ResponseCouplings none = CouplingsOf(ExampleRhythm(), {}, entropy, Share("0.8"), 0);
  EXPECT_THAT(none.fai_peak_follows_waad.values, ElementsAre(0, 1, 0, 0, 0, 0, 1, 0, 0, 0));
}

TEST(CouplingsOfTest, OtherHeadsPeaksAreTheirOwn) {
  const std::vector<double> other = {0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 9, 0};
  const ResponseCouplings one = CouplingsOf(ExampleRhythm(), other, std::vector<float>(12, 1.0f), Share("0.8"), 1);
  EXPECT_THAT(one.receiver_peak_is_other_peak.picks, ElementsAre(0, 0, 1, 0, 0, 1, 0, 0, 0, 0));
  EXPECT_THAT(one.receiver_peak_is_other_peak.values, ElementsAre(0, 0, 0, 0, 0, 1, 0, 0, 0, 0));
  Rhythm rhythm;
  rhythm.heads.global = {2, 5, 6, 9};
  rhythm.receiver_heads = {1, 5, 9};
  EXPECT_THAT(GlobalWithoutReceivers(rhythm), ElementsAre(2, 6));
}

TEST(CouplingsOfTest, WithoutReceiverHeadsThereIsNoSuchSeries) {
  Rhythm rhythm = ExampleRhythm();
  rhythm.receiver_heads.clear();
  const std::vector<double> other(12, 1.0);
  const ResponseCouplings one = CouplingsOf(rhythm, other, std::vector<float>(12, 1.0f), Share("0.8"), 1);
  EXPECT_THAT(one.receiver_peak_is_fai_peak.picks, IsEmpty());
  EXPECT_THAT(one.receiver_peak_is_other_peak.picks, IsEmpty());
}

// By hand. First response: picks 1 and 3 of the values 0 4 0 2: 6 of 2, expected 2 · 6/4 = 3. Second: pick 0 of 1 0 1:
// 1 of 1, expected 2/3. The third has no pick.
TEST(MeasureCouplingTest, ByHand) {
  const std::vector<Coupling> responses = {{{0, 1, 0, 1}, {0, 4, 0, 2}}, {{1, 0, 0}, {1, 0, 1}}, {{0, 0}, {9, 9}}};
  const CouplingResult result = MeasureCoupling(responses, 1);
  EXPECT_EQ(result.responses, 2);
  EXPECT_EQ(result.picks, 3);
  EXPECT_NEAR(result.pick_share, 3.0 / 7, 1e-15);
  EXPECT_NEAR(result.observed.value, 7.0 / 3, 1e-15);
  EXPECT_NEAR(result.baseline.value, (3 + 2.0 / 3) / 3, 1e-15);
  EXPECT_NEAR(result.lift.value, 7 / (3 + 2.0 / 3) - 1, 1e-12);
  // Shifts of the first give 6 or 0, of the second 1 or 0: 0, 1/3, 2 and 7/3 of chances 1/6, 1/3, 1/6, 1/3. The last is
  // 1.11 from the expectation 1.22, and only 0 is further.
  EXPECT_NEAR(result.p_value, 1.0 / 2, 0.04);
  EXPECT_EQ(result.baseline.low, 0);
  EXPECT_NEAR(result.baseline.high, 7.0 / 3, 1e-15);
}

TEST(MeasureCouplingTest, NothingToMeasure) {
  EXPECT_EQ(MeasureCoupling({}, 1).responses, 0);
  const std::vector<Coupling> no_values = {{{1, 0}, {0, 0}}}, no_picks = {{{0, 0}, {1, 1}}, {{}, {}}};
  EXPECT_EQ(MeasureCoupling(no_values, 1).responses, 0);
  EXPECT_EQ(MeasureCoupling(no_picks, 1).responses, 0);
}

// Independent picks and values: z of the baseline is standard normal, so about 95 of 100 studies find p > 0.05, and the
// middle of the baseline has the width that the variance of a mean says.
TEST(MeasureCouplingTest, FindsNothingWhereThereIsNothing) {
  std::mt19937_64 random(7);
  std::normal_distribution<double> normal;
  int significant = 0;
  double width = 0;
  constexpr int kStudies = 100, kResponses = 30, kTokens = 50, kEvery = 10;
  for (int study = 0; study < kStudies; ++study) {
    std::vector<Coupling> responses(kResponses);
    for (Coupling& one : responses) {
      for (int t = 0; t < kTokens; ++t) {
        one.picks.push_back(t % kEvery == 0);
        one.values.push_back(10 + normal(random));
      }
    }
    const CouplingResult result = MeasureCoupling(responses, study);
    significant += result.p_value <= 0.05;
    width += (result.baseline.high - result.baseline.low) / kStudies;
  }
  EXPECT_LE(significant, 13);  // 5 expected, 2.2 the standard deviation
  // 150 picks of unit variance; drawn without replacement, 5 of 50 in each response.
  const double expected_width = 2 * 1.96 * std::sqrt((1 - 1.0 / kEvery) / (kResponses * kTokens / kEvery));
  EXPECT_NEAR(width, expected_width, 0.1 * expected_width);
}

TEST(MeasureCouplingTest, FindsWhatThereIs) {
  std::mt19937_64 random(8);
  std::normal_distribution<double> normal;
  std::vector<Coupling> responses(60);
  for (Coupling& one : responses) {
    const double level = 5 + 2 * normal(random);  // differs by response, which the baseline follows
    for (int t = 0; t < 40; ++t) {
      one.picks.push_back(t % 8 == 0);
      one.values.push_back(level + (t % 8 == 0 ? 1 : 0) + 0.3 * normal(random));
    }
  }
  const CouplingResult result = MeasureCoupling(responses, 2);
  EXPECT_NEAR(result.observed.value - result.baseline.value, 7.0 / 8, 0.05);  // 1 less the picks' own share of the mean
  EXPECT_GT(result.lift.low, 0.1);
  EXPECT_LT(result.lift.high, 0.25);
  EXPECT_NEAR(result.p_value, 1.0 / (kReplicates + 1), 1e-12);
  const CouplingResult again = MeasureCoupling(responses, 2);
  EXPECT_EQ(again.lift.low, result.lift.low);
  EXPECT_EQ(again.baseline.high, result.baseline.high);
}

// The point of shifting: both series come in bursts of their own, so picks lie together and meet the values' bursts as
// a block. Shuffled picks would vary less than they do, and find a coupling where there is none.
TEST(MeasureCouplingTest, TheBaselineKeepsBursts) {
  Coupling one;
  for (int t = 0; t < 100; ++t) {
    one.picks.push_back(t < 10);
    one.values.push_back(t >= 40 && t < 60);
  }
  const CouplingResult result = MeasureCoupling(std::vector<Coupling>{one}, 1);
  EXPECT_NEAR(result.baseline.value, 0.2, 1e-12);
  EXPECT_EQ(result.baseline.low, 0);
  EXPECT_EQ(result.baseline.high, 1);
  EXPECT_GT(result.p_value, 0.5);
}

TEST(ProbePositionsTest, MatchesEachPeakWithTheNearestLowToken) {
  //                               0  1  2  3  4  5  6  7  8  9 10
  const std::vector<double> fai = {5, 1, 5, 9, 5, 5, 1, 8, 5, 5, 0};  // 0.2 quantile: 1; 0.8 quantile: 5
  const ProbedPositions two = ProbePositions(fai, 11, 2, Share("0.8"));
  EXPECT_THAT(two.peaks, ElementsAre(3, 7));
  EXPECT_THAT(two.matched, ElementsAre(1, 6));
  EXPECT_THAT(two.lowest, ElementsAre(10, 1));
  const ProbedPositions one = ProbePositions(fai, 11, 1, Share("0.8"));
  EXPECT_THAT(one.peaks, ElementsAre(3));
  EXPECT_THAT(one.lowest, ElementsAre(10));
  // Beyond the end nothing is chosen: the peak at 7, and the low token at 10.
  const ProbedPositions early = ProbePositions(fai, 7, 2, Share("0.8"));
  EXPECT_THAT(early.peaks, ElementsAre(3));
  EXPECT_THAT(early.matched, ElementsAre(1));
  EXPECT_THAT(early.lowest, ElementsAre(1));
}

TEST(ProbePositionsTest, NoTokenIsMatchedTwiceAndTiesGoToTheEarlier) {
  //                               0  1  2  3  4  5  6  7  8  9 10
  const std::vector<double> fai = {5, 5, 0, 5, 9, 5, 0, 5, 9, 5, 0};
  const ProbedPositions probed = ProbePositions(fai, 11, 5, Share("0.8"));
  EXPECT_THAT(probed.peaks, ElementsAre(4, 8));
  EXPECT_THAT(probed.matched, ElementsAre(2, 6));  // 2 and 6 are as near to 4; 6 and 10 to 8
  EXPECT_THAT(probed.lowest, ElementsAre(2, 6));
  //                                   0  1  2  3  4  5  6  7  8
  const std::vector<double> one_low = {5, 9, 5, 9, 5, 0, 0, 0, 0};
  const ProbedPositions dropped = ProbePositions(one_low, 6, 5, Share("0.8"));
  EXPECT_THAT(dropped.peaks, ElementsAre(1));
  EXPECT_THAT(dropped.matched, ElementsAre(5));
}

TEST(ProbePositionsTest, NothingToProbe) {
  EXPECT_THAT(ProbePositions({}, 5, 2, Share("0.8")).peaks, IsEmpty());
  EXPECT_THAT(ProbePositions(std::vector<double>{1, 1, 1, 1}, 4, 2, Share("0.8")).peaks, IsEmpty());
  EXPECT_THAT(ProbePositions(std::vector<double>{0, 9, 0, 9, 0}, 0, 2, Share("0")).lowest, IsEmpty());
}

TEST(JaccardTest, OfTokensIgnoresOrderAndRepetition) {
  EXPECT_EQ(TokenJaccard(std::vector<int32_t>{3, 1, 3}, std::vector<int32_t>{1, 3, 1}), 1);
  EXPECT_EQ(TokenJaccard(std::vector<int32_t>{3, 1, 3}, std::vector<int32_t>{4, 3, 5}), 0.25);
  EXPECT_EQ(TokenJaccard({}, std::vector<int32_t>{4}), 0);
}

TEST(JaccardTest, OfWordsTakesContentOnly) {
  EXPECT_EQ(WordJaccard("The cat, and the dog.", "A DOG with a cat!"), 1);
  EXPECT_EQ(WordJaccard("12 apples cost 3.50", "12 pears cost 3"), 3.0 / 6);  // 12 cost 3 of 12 apples cost 3 50 pears
  EXPECT_EQ(WordJaccard("caf\xc3\xa9 noir", "caf\xc3\xa9"), 0.5);
  EXPECT_EQ(WordJaccard("the of", ""), 1);                        // both have no content
  EXPECT_EQ(WordJaccard("your would with", "a about after"), 1);  // the ends of the list
}

TEST(ComparePairsTest, ByHand) {
  // Differences -1, -1, 1, 0: mean -1/4. Swaps give (±1 ±1 ±1 + 0)/4: |mean| >= 1/4 always.
  const PairedResult result = ComparePairs({0, 1, 2, 3}, {1, 2, 1, 3}, 1);
  EXPECT_EQ(result.responses, 4);
  EXPECT_EQ(result.high.value, 1.5);
  EXPECT_EQ(result.low.value, 1.75);
  EXPECT_EQ(result.difference.value, -0.25);
  EXPECT_EQ(result.lower_share.value, 0.5);
  EXPECT_EQ(result.ties, 1);
  EXPECT_EQ(result.p_value, 1);
  EXPECT_EQ(result.baseline.low, -0.75);
  EXPECT_EQ(result.baseline.high, 0.75);
  EXPECT_EQ(ComparePairs({}, {}, 1).responses, 0);
}

// Eight differences of one sign: only 2 of 2^8 swaps are as far from 0.
TEST(ComparePairsTest, TheSignTestsChance) {
  const PairedResult result = ComparePairs(std::vector<double>(8, 0.0), std::vector<double>(8, 1.0), 6);
  EXPECT_NEAR(result.p_value, 2.0 / 256, 0.006);
  EXPECT_EQ(result.difference.low, -1);
  EXPECT_EQ(result.difference.high, -1);
  EXPECT_EQ(result.lower_share.value, 1);
}

}  // namespace
}  // namespace tactus
