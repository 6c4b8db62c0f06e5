#include "common/metrics/eval_stats.h"

#include <cmath>

#include "gtest/gtest.h"

namespace tactus {
namespace {

// Against the definition: the share of k-subsets of n samples that hold a right one, by counting all of them.
double ByCounting(int samples, int correct, int k) {
  int subsets = 0, with_right = 0;
  for (int mask = 0; mask < 1 << samples; ++mask) {
    if (__builtin_popcount(static_cast<unsigned>(mask)) != k) continue;
    ++subsets;
    with_right += (mask & ((1 << correct) - 1)) != 0;
  }
  return static_cast<double>(with_right) / subsets;
}

TEST(PassAtKTest, EqualsCountingSubsets) {
  for (int samples = 1; samples <= 8; ++samples) {
    for (int correct = 0; correct <= samples; ++correct) {
      for (int k = 1; k <= samples; ++k) {
        EXPECT_NEAR(PassAtK(samples, correct, k), ByCounting(samples, correct, k), 1e-12) << samples << correct << k;
      }
    }
  }
}

// Values of R's binom.confint(x, n, methods = "wilson").
TEST(WilsonIntervalTest, PublishedValues) {
  const Interval half = WilsonInterval(50, 100);
  EXPECT_NEAR(half.low, 0.4038315, 1e-6);
  EXPECT_NEAR(half.high, 0.5961685, 1e-6);
  const Interval none = WilsonInterval(0, 10);
  EXPECT_EQ(none.low, 0);
  EXPECT_NEAR(none.high, 0.2775328, 1e-6);
  const Interval all = WilsonInterval(10, 10);
  EXPECT_NEAR(all.low, 0.7224672, 1e-6);
  EXPECT_EQ(all.high, 1);
  for (int64_t n = 1; n < 200; ++n) {
    EXPECT_EQ(WilsonInterval(0, n).low, 0) << n;
    EXPECT_EQ(WilsonInterval(n, n).high, 1) << n;
  }
}

TEST(BootstrapIntervalTest, CoversTheMeanAsTheNormalApproximationSays) {
  std::vector<double> values;
  for (int i = 0; i < 400; ++i) values.push_back(i % 4 == 0 ? 1 : 0);
  const Interval interval = BootstrapInterval(values, 3);
  const double half = 1.96 * std::sqrt(0.25 * 0.75 / 400);
  EXPECT_EQ(interval.value, 0.25);
  EXPECT_NEAR(interval.low, 0.25 - half, 0.006);
  EXPECT_NEAR(interval.high, 0.25 + half, 0.006);
  EXPECT_EQ(BootstrapInterval(values, 3).low, interval.low) << "the same seed, the same interval";
}

TEST(BootstrapIntervalTest, EqualValuesHaveNoSpread) {
  const Interval interval = BootstrapInterval({0.5, 0.5, 0.5}, 1);
  EXPECT_EQ(interval.low, 0.5);
  EXPECT_EQ(interval.high, 0.5);
}

TEST(EstimatePassTest, IsTheMeanOverAnswersAndTheShareOfPromptsWithARightOne) {
  const PassEstimate some = EstimatePass(4, {0, 1, 4, 2, 0}, 1);
  EXPECT_DOUBLE_EQ(some.pass1.value, 7.0 / 20);
  EXPECT_TRUE(some.pass1_by_prompt);
  EXPECT_LT(some.pass1.low, some.pass1.value);
  EXPECT_GT(some.pass1.high, some.pass1.value);
  ASSERT_TRUE(some.pass_k.has_value());
  EXPECT_DOUBLE_EQ(some.pass_k->value, 3.0 / 5);
  EXPECT_DOUBLE_EQ(some.pass_k->low, WilsonInterval(3, 5).low);
  const PassEstimate one = EstimatePass(1, {0, 1, 1, 0}, 1);
  EXPECT_FALSE(one.pass1_by_prompt);
  EXPECT_DOUBLE_EQ(one.pass1.low, WilsonInterval(2, 4).low);
  EXPECT_FALSE(one.pass_k.has_value());
  const PassEstimate all = EstimatePass(2, {2, 2, 2}, 1);
  EXPECT_FALSE(all.pass1_by_prompt) << "a bootstrap of equal values has no width";
  EXPECT_DOUBLE_EQ(all.pass1.low, WilsonInterval(3, 3).low);
}

}  // namespace
}  // namespace tactus
