#include "learner/records/timeline_keeper.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tactus {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

absl::Time At(double s) { return absl::UnixEpoch() + absl::Seconds(1000 + s); }

TrajectoryGroup Group(const std::string& actor, double arrived, double handing_in, double sampling) {
  TrajectoryGroup group;
  group.actor_id = actor;
  group.arrived_s = 1000 + arrived;
  group.times = {.sampling_s = sampling, .handing_in_s = handing_in};
  return group;
}

TEST(TimelineKeeperTest, AStepBeginsWhereTheOneBeforeEnded) {
  TimelineKeeper keeper(At(0));
  keeper.Add(LearnerWork::kWait, At(0.5), At(2));
  keeper.Add(LearnerWork::kPasses, At(2), At(3));
  const StepTimeline first = keeper.EndStep(1, {2, 1}, {}, At(3));
  EXPECT_EQ(first.step, 1);
  EXPECT_EQ(first.version, "2.1");
  EXPECT_EQ(first.start_s, 0);
  EXPECT_EQ(first.length_s, 3);
  EXPECT_THAT(first.learner,
              ElementsAre(LearnerSpan{LearnerWork::kWait, {0.5, 2}}, LearnerSpan{LearnerWork::kPasses, {2, 3}}));
  keeper.Add(LearnerWork::kCheckpoint, At(3), At(3.5));
  const StepTimeline second = keeper.EndStep(2, {2, 2}, {}, At(7));
  EXPECT_EQ(second.start_s, 3);
  EXPECT_EQ(second.length_s, 4);
  EXPECT_THAT(second.learner, ElementsAre(LearnerSpan{LearnerWork::kCheckpoint, {0, 0.5}}));
}

TEST(TimelineKeeperTest, TheSameWorkGoingOnIsOneSpan) {
  TimelineKeeper keeper(At(0));
  keeper.Add(LearnerWork::kPasses, At(0), At(1));
  keeper.Add(LearnerWork::kPasses, At(1.0005), At(2));
  keeper.Add(LearnerWork::kPasses, At(2.5), At(3));
  keeper.Add(LearnerWork::kWait, At(3), At(4));
  keeper.Add(LearnerWork::kPasses, At(4), At(5));
  EXPECT_THAT(keeper.EndStep(1, {}, {}, At(5)).learner,
              ElementsAre(LearnerSpan{LearnerWork::kPasses, {0, 2}}, LearnerSpan{LearnerWork::kPasses, {2.5, 3}},
                          LearnerSpan{LearnerWork::kWait, {3, 4}}, LearnerSpan{LearnerWork::kPasses, {4, 5}}));
}

TEST(TimelineKeeperTest, AnActorsWorkIsPlacedByItsArrivals) {
  TimelineKeeper keeper(At(0));
  keeper.EndStep(1, {}, {}, At(10));
  // Of "a" two groups at once, from 9 to 12 and from 11 to 13, and one of 14 to 15; "b" told no lengths.
  const std::vector<TrajectoryGroup> groups = {Group("b", 12, 0, 0), Group("a", 13.25, 0.25, 2),
                                               Group("a", 12.5, 0.5, 3), Group("a", 15, 0, 1)};
  const StepTimeline timeline = keeper.EndStep(2, {}, groups, At(16));
  ASSERT_EQ(timeline.actors.size(), 2u);
  EXPECT_EQ(timeline.actors[0].actor, "a");
  EXPECT_THAT(timeline.actors[0].sampling, ElementsAre(TimeSpan{-1, 3}, TimeSpan{4, 5}));
  EXPECT_THAT(timeline.actors[0].arrived_s, ElementsAre(2.5, 3.25, 5));
  EXPECT_EQ(timeline.actors[1].actor, "b");
  EXPECT_THAT(timeline.actors[1].sampling, IsEmpty());
  EXPECT_THAT(timeline.actors[1].arrived_s, ElementsAre(2));
}

TEST(TimelineKeeperTest, AGroupOfTheLogHasNoPlace) {
  TimelineKeeper keeper(At(0));
  TrajectoryGroup logged = Group("a", 0, 1, 1);
  logged.arrived_s = 0;
  EXPECT_THAT(keeper.EndStep(1, {}, std::span(&logged, 1), At(1)).actors, IsEmpty());
}

TEST(TimelineKeeperTest, AStepIsBounded) {
  TimelineKeeper keeper(At(0));
  for (size_t i = 0; i < 2 * TimelineKeeper::kMaxSpans; ++i) {
    const double at = static_cast<double>(i);
    keeper.Add(i % 2 == 0 ? LearnerWork::kWait : LearnerWork::kPasses, At(at), At(at + 1));
  }
  EXPECT_EQ(keeper.EndStep(1, {}, {}, At(2000)).learner.size(), TimelineKeeper::kMaxSpans);
}

}  // namespace
}  // namespace tactus
