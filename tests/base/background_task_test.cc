#include "common/base/background_task.h"

#include <gtest/gtest.h>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"

namespace tactus {
namespace {

TEST(BackgroundTaskTest, ItsEndIsWaitedFor) {
  absl::Notification may_end;
  const auto task = BackgroundTask::Start("a test", [&](const std::atomic<bool>&) {
    may_end.WaitForNotification();
    return absl::DataLossError("gone");
  });
  ASSERT_TRUE(task.ok()) << task.status();
  EXPECT_EQ((*task)->Wait(absl::Milliseconds(1)), std::nullopt);
  may_end.Notify();
  EXPECT_EQ((*task)->Wait(absl::InfiniteDuration()), absl::DataLossError("gone"));
  EXPECT_EQ((*task)->Wait(absl::ZeroDuration()), absl::DataLossError("gone")) << "as often as asked";
}

TEST(BackgroundTaskTest, ADestroyedOneGivesUpAndIsOver) {
  std::atomic<bool> over = false;
  {
    const auto task = BackgroundTask::Start("a test", [&](const std::atomic<bool>& give_up) {
      while (!give_up) absl::SleepFor(absl::Milliseconds(1));
      over = true;
      return absl::OkStatus();
    });
    ASSERT_TRUE(task.ok());
  }
  EXPECT_TRUE(over);
}

// Whoever hears of the end finds what the work held given back.
TEST(BackgroundTaskTest, WhatItHeldIsGoneAtItsEnd) {
  const auto held = std::make_shared<int>(1);
  const auto task = BackgroundTask::Start("a test", [held](const std::atomic<bool>&) { return absl::OkStatus(); });
  ASSERT_TRUE((*task)->Wait(absl::InfiniteDuration())->ok());
  EXPECT_EQ(held.use_count(), 1);
}

}  // namespace
}  // namespace tactus
