#include "learner/algo/reward_shaping.h"

#include <gtest/gtest.h>

namespace tactus {
namespace {

TEST(RewardShapingTest, LongAnswersLoseMoreUntilTheEnd) {
  const RewardShapingOptions options{.max_tokens = 100, .buffer_tokens = 20, .penalty = 0.5};
  EXPECT_EQ(OverlongPenalty(options, 0), 0);
  EXPECT_EQ(OverlongPenalty(options, 80), 0);
  EXPECT_DOUBLE_EQ(OverlongPenalty(options, 85), -0.125);
  EXPECT_DOUBLE_EQ(OverlongPenalty(options, 100), -0.5);
  EXPECT_DOUBLE_EQ(OverlongPenalty(options, 130), -0.5);
  EXPECT_TRUE(options.changes_rewards());
}

TEST(RewardShapingTest, WithoutABufferNothingIsLost) {
  const RewardShapingOptions options{.max_tokens = 100};
  EXPECT_EQ(OverlongPenalty(options, 100), 0);
  EXPECT_FALSE(options.changes_rewards());
}

}  // namespace
}  // namespace tactus
