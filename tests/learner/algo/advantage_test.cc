#include "learner/algo/advantage.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace tactus {
namespace {

using ::testing::DoubleEq;
using ::testing::DoubleNear;
using ::testing::Each;
using ::testing::ElementsAre;

std::vector<double> Advantages(Estimator estimator, const std::vector<double>& rewards) {
  return BatchAdvantages(estimator, {rewards}).front();
}

TEST(AdvantageTest, GrpoDividesByThePopulationDeviation) {
  // mean 2, squared deviations 4, 0, 4, 0: population std sqrt(2), the sample one would be sqrt(8 / 3).
  const double unit = 2 / (std::sqrt(2.0) + 1e-6);
  EXPECT_THAT(Advantages(Estimator::kGrpo, {0, 2, 4, 2}),
              ElementsAre(DoubleNear(-unit, 1e-15), 0.0, DoubleNear(unit, 1e-15), 0.0));
}

TEST(AdvantageTest, DrGrpoOnlyCentres) {
  EXPECT_THAT(Advantages(Estimator::kDrGrpo, {0, 2, 4, 2}), ElementsAre(-2.0, 0.0, 2.0, 0.0));
}

TEST(AdvantageTest, RlooCentresOnTheOthers) {
  EXPECT_THAT(Advantages(Estimator::kRloo, {1, 0, 0.5}),
              ElementsAre(DoubleEq(0.75), DoubleEq(-0.75), DoubleNear(0, 1e-16)));
}

TEST(AdvantageTest, EqualRewardsGiveExactZeros) {
  for (Estimator estimator : {Estimator::kGrpo, Estimator::kDrGrpo, Estimator::kRloo, Estimator::kReinforcePp,
                              Estimator::kReinforcePpBaseline}) {
    for (double reward : {0.0, 0.05, 1.0, 1.05, 1.0 / 3}) {
      for (size_t size : {1, 2, 3, 7, 10}) {  // 0.05 summed seven times is not 7 * 0.05
        EXPECT_THAT(Advantages(estimator, std::vector<double>(size, reward)), Each(0.0)) << reward << " x " << size;
      }
    }
  }
}

TEST(AdvantageTest, AGroupIsItsOwnWhateverElseIsInTheBatch) {
  const std::vector<std::vector<double>> batch = {{0, 2, 4, 2}, {1, 1}, {}, {0.5, 7}};
  for (Estimator estimator : {Estimator::kGrpo, Estimator::kDrGrpo, Estimator::kRloo}) {
    const std::vector<std::vector<double>> together = BatchAdvantages(estimator, batch);
    ASSERT_EQ(together.size(), batch.size());
    for (size_t g = 0; g < batch.size(); ++g) EXPECT_EQ(together[g], Advantages(estimator, batch[g]));
  }
}

TEST(AdvantageTest, ReinforcePpComparesTheWholeBatch) {
  // mean 1, population variance (1 + 1 + 4 + 4) / 4 = 2.5: also groups of equal rewards and of one have a signal.
  const double unit = 1 / (std::sqrt(2.5) + 1e-6);
  EXPECT_THAT(BatchAdvantages(Estimator::kReinforcePp, {{0, 2}, {-1}, {3}}),
              ElementsAre(ElementsAre(DoubleNear(-unit, 1e-15), DoubleNear(unit, 1e-15)),
                          ElementsAre(DoubleNear(-2 * unit, 1e-15)), ElementsAre(DoubleNear(2 * unit, 1e-15))));
}

TEST(AdvantageTest, ReinforcePpBaselineCentresByGroupAndScalesByTheBatch) {
  // less the groups' means: -1, 1, 0, 0, -2, 2; population variance 10 / 6.
  const double unit = 1 / (std::sqrt(10.0 / 6) + 1e-6);
  EXPECT_THAT(BatchAdvantages(Estimator::kReinforcePpBaseline, {{0, 2}, {7, 7}, {1, 5}}),
              ElementsAre(ElementsAre(DoubleNear(-unit, 1e-15), DoubleNear(unit, 1e-15)), ElementsAre(0.0, 0.0),
                          ElementsAre(DoubleNear(-2 * unit, 1e-15), DoubleNear(2 * unit, 1e-15))));
}

TEST(AdvantageTest, ZeroSignal) {
  EXPECT_TRUE(IsZeroSignal(std::vector<double>{0.3}));
  EXPECT_TRUE(IsZeroSignal(std::vector<double>{0.3, 0.3}));
  EXPECT_FALSE(IsZeroSignal(std::vector<double>{0.3, 0.3, 0.4}));
}

}  // namespace
}  // namespace tactus
