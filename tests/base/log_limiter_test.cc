#include "common/base/log_limiter.h"

#include <gtest/gtest.h>

namespace tactus {
namespace {

TEST(LogLimiterTest, AFloodLeavesABurstAndAFewASecond) {
  LogLimiter limiter(/*burst=*/10, /*per_second=*/2);
  const absl::Duration start = absl::Hours(100);
  int logged = 0;
  for (int i = 0; i < 1000; ++i) logged += limiter.Allow(start) ? 1 : 0;
  EXPECT_EQ(logged, 10);
  for (int ms = 1; ms <= 10'000; ++ms) logged += limiter.Allow(start + absl::Milliseconds(ms)) ? 1 : 0;
  EXPECT_NEAR(logged, 30, 1);
  EXPECT_EQ(limiter.LeftOut(), absl::StrCat(" (", 11'000 - logged, " more were not logged)"));
  EXPECT_EQ(limiter.LeftOut(), "");
  logged = 0;
  for (int i = 0; i < 100; ++i) logged += limiter.Allow(start + absl::Hours(1)) ? 1 : 0;
  EXPECT_EQ(logged, 10) << "never more than a burst, however long it was quiet";
}

}  // namespace
}  // namespace tactus
