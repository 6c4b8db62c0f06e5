// What advantages are made of, by answer and by turn.
#include "common/data/turn_rewards.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/data/turns.h"

namespace tactus {
namespace {

using ::testing::ElementsAre;

// Turns of one token each, with one of the environment's between two.
Completion Earned(const std::vector<double>& rewards) {
  Completion completion;
  for (const double reward : rewards) {
    const int start = 2 * static_cast<int>(completion.turns.size());
    completion.turns.push_back({start, 1, reward});
    completion.reward.total += reward;
  }
  completion.token_ids.resize(2 * rewards.size() - 1);
  return completion;
}

TEST(TurnRewards, AreTheAnswersOrTheTurns) {
  const Completion conversation = Earned({0.5, -0.25, 1});
  EXPECT_THAT(RewardsOf(conversation, AdvantageLevel::kEpisode), ElementsAre(1.25));
  EXPECT_THAT(RewardsOf(conversation, AdvantageLevel::kTurn), ElementsAre(0.5, -0.25, 1));
  EXPECT_THAT(ReturnsOf(RewardsOf(conversation, AdvantageLevel::kTurn)), ElementsAre(1.25, 0.75, 1));
  Completion answer;
  answer.token_ids = {1, 2};
  answer.reward.total = 0.75;
  EXPECT_THAT(RewardsOf(answer, AdvantageLevel::kTurn), ElementsAre(0.75)) << "one turn";
}

TEST(TurnRewards, AreEqualWhereEveryTurnThatTwoReachedIs) {
  const auto equal = [](const std::vector<std::vector<double>>& rewards, AdvantageLevel level) {
    std::vector<Completion> completions;
    for (const std::vector<double>& one : rewards) completions.push_back(Earned(one));
    return EqualRewards(completions, level);
  };
  EXPECT_TRUE(equal({{1, 0}, {0, 1}}, AdvantageLevel::kEpisode));
  EXPECT_FALSE(equal({{1, 0}, {0, 1}}, AdvantageLevel::kTurn));
  EXPECT_TRUE(equal({{1, 0}, {1, 0}}, AdvantageLevel::kTurn));
  EXPECT_TRUE(equal({{1}, {0.5, 0.5}}, AdvantageLevel::kTurn)) << "the second turn is one answer's alone";
  EXPECT_FALSE(equal({{1}, {0.5, 0.5}, {0.25, 0.75}}, AdvantageLevel::kTurn))
      << "of the longer ones the second differs";
  EXPECT_FALSE(equal({{0.5, 0.5}, {1}, {0.25, 0.75}}, AdvantageLevel::kTurn));
  for (const AdvantageLevel level : {AdvantageLevel::kEpisode, AdvantageLevel::kTurn}) {
    EXPECT_TRUE(equal({}, level));
    EXPECT_TRUE(equal({{0.3, 0.1}}, level));
    EXPECT_FALSE(equal({{1, 0}, {1, 0}, {1, 0.5}}, level));
  }
}

TEST(TurnRewards, GoToTheTokensOfTheirTurns) {
  const std::vector<Turn> turns = {{0, 2, 0}, {4, 1, 0}};
  const std::vector<double> values = {7, -1}, one = {3};
  EXPECT_THAT(ForSampled(turns, std::span<const double>(values), 5), ElementsAre(7, 7, -1));
  EXPECT_THAT(ForSampled(turns, std::span<const double>(one), 5), ElementsAre(3, 3, 3));
  EXPECT_THAT(ForSampled({}, std::span<const double>(one), 2), ElementsAre(3, 3));
}

}  // namespace
}  // namespace tactus
