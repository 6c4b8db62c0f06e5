#include "common/base/back_off.h"

#include <gtest/gtest.h>

#include <set>

namespace tactus {
namespace {

TEST(BackOffTest, DoublesToItsBoundAndStartsAgain) {
  BackOff pauses(absl::Seconds(1), absl::Seconds(30), /*jitter=*/false);
  for (const int expected : {1, 2, 4, 8, 16, 30, 30}) EXPECT_EQ(pauses.Next(), absl::Seconds(expected));
  EXPECT_EQ(pauses.failures(), 7);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(pauses.Next(), absl::Seconds(30));
  pauses.Reset();
  EXPECT_EQ(pauses.failures(), 0);
  EXPECT_EQ(pauses.Next(), absl::Seconds(1));
}

TEST(BackOffTest, JitterStaysInTheUpperHalf) {
  BackOff pauses(absl::Seconds(4), absl::Seconds(4), /*jitter=*/true);
  std::set<absl::Duration> drawn;
  for (int i = 0; i < 200; ++i) {
    const absl::Duration pause = pauses.Next();
    EXPECT_GE(pause, absl::Seconds(2));
    EXPECT_LE(pause, absl::Seconds(4));
    drawn.insert(pause);
  }
  EXPECT_GT(drawn.size(), 100u);
}

}  // namespace
}  // namespace tactus
