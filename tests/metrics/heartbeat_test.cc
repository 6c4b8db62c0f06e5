#include "common/metrics/heartbeat.h"

#include "gtest/gtest.h"

namespace tactus {
namespace {

TEST(HeartbeatTest, HangsAfterTenTimesTheLongestWork) {
  Heartbeat heartbeat;
  absl::Time now = MonotonicNow();
  heartbeat.Waited(now);
  EXPECT_EQ(heartbeat.Hung(now += absl::Hours(30)), "") << "the first step may take as long as it likes";
  heartbeat.Waited(now);
  heartbeat.Worked(now += absl::Minutes(15));
  heartbeat.Worked(now += absl::Minutes(5));
  EXPECT_EQ(heartbeat.Hung(now + absl::Minutes(150)), "");
  EXPECT_EQ(heartbeat.Hung(now + absl::Minutes(151)), "no progress for 2h31m; the longest step took 15m");
}

TEST(HeartbeatTest, WaitingIsNoHangAndNoWork) {
  Heartbeat heartbeat;
  absl::Time now = MonotonicNow();
  heartbeat.Waited(now);
  heartbeat.Worked(now += absl::Seconds(2));
  for (int i = 0; i < 100; ++i) heartbeat.Waited(now += absl::Minutes(50));
  EXPECT_EQ(heartbeat.Hung(now + Heartbeat::kLeast), "");
  EXPECT_EQ(heartbeat.Hung(now + absl::Minutes(61)), "no progress for 1h1m; the longest step took 2s");
}

TEST(HeartbeatTest, WhatExceedsItsDeadlineHangsAtOnceAndForGood) {
  Heartbeat heartbeat;
  heartbeat.Overdue("starting Barrier 1 has not returned for 5m, longer than 5m");
  heartbeat.Overdue("something later");
  EXPECT_EQ(heartbeat.Hung(), "starting Barrier 1 has not returned for 5m, longer than 5m");
  heartbeat.Worked();
  EXPECT_EQ(heartbeat.Hung(), "starting Barrier 1 has not returned for 5m, longer than 5m");
}

}  // namespace
}  // namespace tactus
