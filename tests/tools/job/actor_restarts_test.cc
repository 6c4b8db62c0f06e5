#include "tools/job/actor_restarts.h"

#include <gtest/gtest.h>

namespace tactus {
namespace {

TEST(ActorRestartsTest, PausesGrowAndBeginAgainAfterALongLife) {
  ActorRestarts restarts(2);
  for (const int seconds : {1, 2, 4, 8, 16, 30, 30}) {
    EXPECT_EQ(restarts.Died(0, absl::Seconds(59)), absl::Seconds(seconds));
  }
  EXPECT_EQ(restarts.Died(1, absl::ZeroDuration()), absl::Seconds(1)) << "each actor has its own";
  EXPECT_EQ(restarts.Died(0, absl::Minutes(1)), absl::Seconds(1));
  EXPECT_EQ(restarts.Died(0, absl::Seconds(1)), absl::Seconds(2));
  EXPECT_EQ(restarts.total(), 10);
}

// A week of deaths now and then is no reason to end, nor is one actor that cannot live where another does.
TEST(ActorRestartsTest, IsHopelessOnlyWhenEveryActorDiesAndNothingIsTrained) {
  ActorRestarts restarts(2);
  const auto die = [&](size_t index, int times) {
    for (int i = 0; i < times; ++i) restarts.Died(index, absl::Seconds(2));
  };
  die(0, 1000);
  EXPECT_FALSE(restarts.Hopeless()) << "actor 1 lives";
  die(1, ActorRestarts::kMaxDeaths);
  EXPECT_FALSE(restarts.Hopeless());
  restarts.Stepped();
  die(0, ActorRestarts::kMaxDeaths);
  die(1, ActorRestarts::kMaxDeaths);
  EXPECT_FALSE(restarts.Hopeless());
  die(0, 1);
  EXPECT_FALSE(restarts.Hopeless());
  die(1, 1);
  EXPECT_TRUE(restarts.Hopeless());
}

}  // namespace
}  // namespace tactus
