#include "common/base/cond_var.h"

#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "absl/time/clock.h"

namespace tactus {
namespace {

std::atomic<time_t> wall_clock_ahead_s = 0;

}  // namespace
}  // namespace tactus

// In place of the C library's for this program and the libraries it loads: what they read of the wall clock can be set,
// while the kernel's stays, as it does for a wait that began before somebody set the clock back.
extern "C" int clock_gettime(clockid_t clock, struct timespec* now) noexcept {
  const int failed = static_cast<int>(::syscall(SYS_clock_gettime, clock, now));
  if (failed == 0 && clock == CLOCK_REALTIME) now->tv_sec += tactus::wall_clock_ahead_s;
  return failed;
}

namespace tactus {
namespace {

// An hour's wait where a timed wait goes by the wall clock, as Abseil's do.
TEST(CondVarTest, AClockThatIsSetBackDoesNotLengthenAWait) {
  const absl::Time before = absl::Now();
  wall_clock_ahead_s = 3600;
  EXPECT_GT(absl::Now() - before, absl::Minutes(59)) << "the test does not set the clock";
  absl::Mutex mu;
  CondVar changed;
  {
    absl::MutexLock lock(&mu);
    EXPECT_TRUE(changed.WaitFor(&mu, absl::Milliseconds(10)));
    EXPECT_FALSE(changed.AwaitFor(&mu, absl::Milliseconds(10), [] { return false; }));
  }
  wall_clock_ahead_s = 0;
}

TEST(CondVarTest, WakesWhoeverWaitsWhenTheConditionHolds) {
  absl::Mutex mu;
  CondVar changed;
  int turn = 0;
  constexpr int kTurns = 200;
  const auto take_turns = [&](int parity) {
    absl::MutexLock lock(&mu);
    for (int i = parity; i < kTurns; i += 2) {
      EXPECT_TRUE(changed.AwaitFor(&mu, absl::InfiniteDuration(), [&] { return turn == i; }));
      ++turn;
      changed.SignalAll();
    }
  };
  std::thread odd(take_turns, 1);
  take_turns(0);
  odd.join();
  absl::MutexLock lock(&mu);
  EXPECT_EQ(turn, kTurns);
}

TEST(CondVarTest, ANegativeWaitIsOverAndAConditionThatHoldsNeedsNone) {
  absl::Mutex mu;
  CondVar changed;
  absl::MutexLock lock(&mu);
  EXPECT_TRUE(changed.WaitFor(&mu, absl::Seconds(-1)));
  EXPECT_FALSE(changed.AwaitFor(&mu, -absl::InfiniteDuration(), [] { return false; }));
  EXPECT_TRUE(changed.AwaitFor(&mu, absl::ZeroDuration(), [] { return true; }));
}

}  // namespace
}  // namespace tactus
