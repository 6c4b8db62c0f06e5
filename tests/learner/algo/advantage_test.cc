#include "learner/algo/advantage.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <utility>
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

TEST(TurnAdvantageTest, ATurnIsComparedByWhatIsEarnedFromItOn) {
  // Returns of the first turns 1, 0.5 and 0.25; of the second ones 0.75 and 0.25, which two answers reached; of the
  // third one none to compare.
  const PerTurn rewards = {{{0.25, 0.75}, {0.5}, {0, 0.25, 0}}};
  EXPECT_THAT(TurnAdvantages(Estimator::kRloo, rewards).front(),
              ElementsAre(ElementsAre(1 - 0.375, 0.5), ElementsAre(0.5 - 0.625), ElementsAre(0.25 - 0.75, -0.5, 0)));
  EXPECT_THAT(TurnAdvantages(Estimator::kDrGrpo, {{{1, 0}, {0, 1}}}).front(),
              ElementsAre(ElementsAre(0, -0.5), ElementsAre(0, 0.5)))
      << "equal in sum, the first turns have none, the second do";
}

// The definition, turn by turn, with nothing shared with what it is compared to.
double Reference(Estimator estimator, const PerTurn& rewards, size_t g, size_t i, size_t k) {
  const auto from = [&](size_t group, size_t answer, size_t turn) {
    double sum = 0;
    for (size_t j = rewards[group][answer].size(); j-- > turn;) sum += rewards[group][answer][j];
    return sum;
  };
  const auto moments = [](const std::vector<double>& values) {
    double mean = 0, square = 0;
    for (const double value : values) mean += value / static_cast<double>(values.size());
    for (const double value : values) square += (value - mean) * (value - mean) / static_cast<double>(values.size());
    return std::pair(mean, std::sqrt(square));
  };
  const auto peers = [&](size_t group, size_t turn) {
    std::vector<double> values;
    for (size_t j = 0; j < rewards[group].size(); ++j) {
      if (rewards[group][j].size() > turn) values.push_back(from(group, j, turn));
    }
    return values;
  };
  const double own = from(g, i, k);
  std::vector<double> compared = peers(g, k), all, centred;
  for (size_t h = 0; h < rewards.size(); ++h) {
    for (const auto& answer : rewards[h]) {
      const auto j = static_cast<size_t>(&answer - rewards[h].data());
      for (size_t turn = 0; turn < answer.size(); ++turn) {
        all.push_back(from(h, j, turn));
        centred.push_back(all.back() - moments(peers(h, turn)).first);
      }
    }
  }
  const auto [mean, deviation] = moments(compared);
  const double others = static_cast<double>(compared.size()) - 1;
  switch (estimator) {
    case Estimator::kGrpo:
      return (own - mean) / (deviation + 1e-6);
    case Estimator::kDrGrpo:
      return own - mean;
    case Estimator::kRloo:
      return others == 0 ? 0 : (own - mean) * (others + 1) / others;
    case Estimator::kReinforcePp:
      return (own - moments(all).first) / (moments(all).second + 1e-6);
    case Estimator::kReinforcePpBaseline:
      return (own - mean) / (moments(centred).second + 1e-6);
  }
  return 0;
}

TEST(TurnAdvantageTest, EqualsItsDefinitionForAnyTurns) {
  std::mt19937 random(5);
  for (int trial = 0; trial < 50; ++trial) {
    PerTurn rewards;
    for (size_t g = 0; g < 1 + random() % 4; ++g) {
      rewards.emplace_back();
      for (size_t i = 0; i < 1 + random() % 5; ++i) {
        rewards.back().emplace_back();
        for (size_t k = 0; k < 1 + random() % 4; ++k) {
          rewards.back().back().push_back(0.125 * static_cast<double>(random() % 17) - 1);
        }
      }
    }
    for (const Estimator estimator : {Estimator::kGrpo, Estimator::kDrGrpo, Estimator::kRloo, Estimator::kReinforcePp,
                                      Estimator::kReinforcePpBaseline}) {
      const PerTurn advantages = TurnAdvantages(estimator, rewards);
      ASSERT_EQ(advantages.size(), rewards.size());
      for (size_t g = 0; g < rewards.size(); ++g) {
        ASSERT_EQ(advantages[g].size(), rewards[g].size());
        for (size_t i = 0; i < rewards[g].size(); ++i) {
          ASSERT_EQ(advantages[g][i].size(), rewards[g][i].size());
          for (size_t k = 0; k < rewards[g][i].size(); ++k) {
            ASSERT_NEAR(advantages[g][i][k], Reference(estimator, rewards, g, i, k), 1e-9)
                << static_cast<int>(estimator) << ": " << g << ", " << i << ", " << k;
          }
        }
      }
    }
  }
}

TEST(TurnAdvantageTest, OneTurnEachIsTheAdvantageOfTheAnswer) {
  const std::vector<std::vector<double>> batch = {{0, 2, 4, 2}, {1, 1}, {0.3}, {0.5, 7}};
  PerTurn rewards;
  for (const std::vector<double>& group : batch) {
    rewards.emplace_back();
    for (const double reward : group) rewards.back().push_back({reward});
  }
  for (const Estimator estimator : {Estimator::kGrpo, Estimator::kDrGrpo, Estimator::kRloo, Estimator::kReinforcePp,
                                    Estimator::kReinforcePpBaseline}) {
    const std::vector<std::vector<double>> expected = BatchAdvantages(estimator, batch);
    const PerTurn advantages = TurnAdvantages(estimator, rewards);
    for (size_t g = 0; g < batch.size(); ++g) {
      for (size_t i = 0; i < batch[g].size(); ++i) EXPECT_EQ(advantages[g][i], std::vector<double>{expected[g][i]});
    }
  }
}

TEST(TurnAdvantageTest, EqualRewardsAndLonelyTurnsGiveExactZeros) {
  for (const Estimator estimator : {Estimator::kGrpo, Estimator::kDrGrpo, Estimator::kRloo}) {
    const PerTurn equal = TurnAdvantages(estimator, {{{0.05, 0.3}, {0.05, 0.3}, {0.05, 0.3}}, {{0.1, 0.2, 0.7}}});
    for (const auto& group : equal) {
      for (const std::vector<double>& answer : group) EXPECT_THAT(answer, Each(0.0));
    }
  }
}

TEST(AdvantageTest, ZeroSignal) {
  EXPECT_TRUE(IsZeroSignal(std::vector<double>{0.3}));
  EXPECT_TRUE(IsZeroSignal(std::vector<double>{0.3, 0.3}));
  EXPECT_FALSE(IsZeroSignal(std::vector<double>{0.3, 0.3, 0.4}));
}

}  // namespace
}  // namespace tactus
