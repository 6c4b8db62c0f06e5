#include "common/rhythm/rhythm_stats.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <set>

namespace tactus {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

Decimal Share(const char* text) { return *Decimal::ParseShare(text, "share"); }

TEST(QuantileTest, InterpolatesBetweenOrderStatistics) {
  EXPECT_EQ(Quantile(std::vector<double>{7}, Share("0.6")), 7);
  EXPECT_EQ(Quantile(std::vector<double>{4, 1, 3, 2}, Share("0.5")), 2.5);
  EXPECT_EQ(Quantile(std::vector<double>{5, 1, 3}, Share("0.5")), 3);
  EXPECT_EQ(Quantile(std::vector<double>{5, 1, 3}, Share("0")), 1);
  EXPECT_EQ(Quantile(std::vector<double>{5, 1, 3}, Share("1")), 5);
  // 0.6 * 10 is not 6 in binary; place 6 exactly, so no interpolation.
  EXPECT_EQ(Quantile(std::vector<double>{0, 1, 2, 3, 4, 5, 0.1 + 0.2 + 6, 7, 8, 9, 10}, Share("0.6")), 0.1 + 0.2 + 6);
  // Place 5 * 0.3 is 1.5: half-way from 1 to 4.
  EXPECT_EQ(Quantile(std::vector<double>{0, 1, 4, 9, 16, 25}, Share("0.3")), 2.5);
  EXPECT_EQ(Quantile(std::vector<double>{0, 5}, Share("0.6")), 3);
}

TEST(QuantileTest, StaysBetweenItsNeighbours) {
  std::mt19937_64 random(1);
  std::uniform_real_distribution<double> uniform;
  for (int trial = 0; trial < 2000; ++trial) {
    std::vector<double> values(1 + random() % 9);
    for (double& value : values) value = uniform(random);
    const Decimal p = Share(trial % 2 ? "0.999999999" : "0.37");
    const double quantile = Quantile(values, p);
    std::sort(values.begin(), values.end());
    const long double place =
        static_cast<long double>(p.numerator()) / p.denominator() * static_cast<long double>(values.size() - 1);
    const auto low = static_cast<size_t>(std::floor(place));
    const size_t high = std::min(low + 1, values.size() - 1);
    EXPECT_GE(quantile, values[low]);
    EXPECT_LE(quantile, values[high]);
    EXPECT_NEAR(quantile, values[low] + (place - low) * (values[high] - values[low]), 1e-15);
  }
}

TEST(JaccardTest, CountsTheCommonOverAll) {
  using Set = std::vector<int32_t>;
  EXPECT_EQ(Jaccard({}, {}), 1);
  EXPECT_EQ(Jaccard(Set{1}, {}), 0);
  EXPECT_EQ(Jaccard(Set{1, 2, 5}, Set{1, 2, 5}), 1);
  EXPECT_EQ(Jaccard(Set{1, 2, 5}, Set{2, 5, 7, 9}), 2.0 / 5);
  EXPECT_EQ(Jaccard(Set{1, 2}, Set{3}), 0);
}

TEST(AmplifiedPositionsTest, AreThoseAboveOne) {
  EXPECT_THAT(AmplifiedPositions(std::vector<float>{1, 1.25f, 0.5f, 1.5f}), ElementsAre(1, 3));
  EXPECT_THAT(AmplifiedPositions({}), IsEmpty());
}

TEST(PearsonTest, MatchesTheDefinition) {
  std::mt19937_64 random(2);
  std::normal_distribution<double> normal;
  for (int trial = 0; trial < 100; ++trial) {
    std::vector<double> x(2 + random() % 30), y(x.size());
    long double sx = 0, sy = 0, sxx = 0, syy = 0, sxy = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      x[i] = normal(random);
      y[i] = 0.5 * x[i] + normal(random);
      sx += x[i], sy += y[i], sxx += x[i] * x[i], syy += y[i] * y[i], sxy += x[i] * y[i];
    }
    const auto n = static_cast<long double>(x.size());
    const long double expected = (n * sxy - sx * sy) / std::sqrt((n * sxx - sx * sx) * (n * syy - sy * sy));
    EXPECT_NEAR(*Pearson(x, y), static_cast<double>(expected), 1e-12);
  }
  EXPECT_NEAR(*Pearson(std::vector<double>{1, 2, 3}, std::vector<double>{-2, -4, -6}), -1.0, 1e-15);
}

TEST(PearsonTest, IsNothingWithoutVariation) {
  using List = std::vector<double>;
  EXPECT_EQ(Pearson(List{}, List{}), std::nullopt);
  EXPECT_EQ(Pearson(List{1}, List{2}), std::nullopt);
  EXPECT_EQ(Pearson(List{0.1, 0.1, 0.1}, List{1, 2, 3}), std::nullopt);
  EXPECT_EQ(Pearson(List{1, 2, 3}, List{0.1, 0.1, 0.1}), std::nullopt);
}

TEST(WaadPeaksTest, StandOutAndHaveTwoNeighbours) {
  // Ten values, 0.8 quantile 7.2 between the places 7 and 8 (7, 8): peaks are above it, and inside.
  EXPECT_THAT(WaadPeaks(std::vector<double>{9, 1, 8, 2, 7, 3, 5, 6, 4, 6}), ElementsAre(0, 0, 1, 0, 0, 0, 0, 0, 0, 0));
  // A plateau counts where it begins; a step up that goes on is none.
  EXPECT_THAT(WaadPeaks(std::vector<double>{0, 0, 0, 0, 0, 0, 0, 5, 5, 0, 0, 0, 0}),
              ElementsAre(0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0));
  EXPECT_THAT(WaadPeaks(std::vector<double>{0, 0, 0, 0, 0, 0, 0, 0, 4, 5, 0, 0, 0}),
              ElementsAre(0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0));
  EXPECT_THAT(WaadPeaks(std::vector<double>{0, 1, 0}), ElementsAre(0, 1, 0));
  // The 0.8 quantile is 2 itself, which is not above it.
  EXPECT_THAT(WaadPeaks(std::vector<double>{2, 1, 2, 1, 2, 1}), ElementsAre(0, 0, 0, 0, 0, 0));
  EXPECT_THAT(WaadPeaks(std::vector<double>{1, 2}), ElementsAre(0, 0));
  EXPECT_THAT(WaadPeaks({}), IsEmpty());
}

TEST(WaadPeaksTest, HaveTheirNeighboursInTheirTurn) {
  const std::vector<double> waad = {0, 0, 0, 0, 9, 0, 0, 0, 0, 8, 0, 0};
  std::vector<int32_t> places = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
  EXPECT_THAT(WaadPeaks(waad, places), ElementsAre(0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0));
  for (size_t t = 9; t < 12; ++t) places[t] += 3;  // 9 begins a turn
  EXPECT_THAT(WaadPeaks(waad, places), ElementsAre(0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0));
  for (size_t t = 5; t < 12; ++t) places[t] += 3;  // and 4 ends one
  EXPECT_THAT(WaadPeaks(waad, places), Each(0));
}

TEST(PeaksTest, TheFloorDecidesWhichMaximaCount) {
  const std::vector<double> values = {0, 1, 0, 3, 2, 2, 4, 0};
  EXPECT_THAT(Peaks(values, Share("0")), ElementsAre(0, 1, 0, 1, 0, 0, 1, 0));
  // Sorted 0 0 0 1 2 2 3 4: the 0.5 quantile is 1.5, the 0.9 quantile 3.3.
  EXPECT_THAT(Peaks(values, Share("0.5")), ElementsAre(0, 0, 0, 1, 0, 0, 1, 0));
  EXPECT_THAT(Peaks(values, Share("0.9")), ElementsAre(0, 0, 0, 0, 0, 0, 1, 0));
  EXPECT_THAT(Peaks(values, Share("1")), ElementsAre(0, 0, 0, 0, 0, 0, 0, 0));
}

TEST(WaadPeaksTest, CorrelateWithEntropyThere) {
  const std::vector<double> waad = {1, 1, 9, 1, 1, 1, 1, 9, 1, 1, 1};
  std::vector<float> entropy(waad.size(), 0.5f);
  entropy[2] = entropy[7] = 2.0f;
  EXPECT_NEAR(*WaadPeakEntropyCorrelation(waad, entropy), 1.0, 1e-12);
  entropy[2] = entropy[7] = -2.0f;
  EXPECT_NEAR(*WaadPeakEntropyCorrelation(waad, entropy), -1.0, 1e-12);
  EXPECT_EQ(WaadPeakEntropyCorrelation(std::vector<double>(11, 1.0), entropy), std::nullopt);
}

}  // namespace
}  // namespace tactus
