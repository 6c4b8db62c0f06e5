#include "common/base/stop_signals.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>

namespace tactus {
namespace {

TEST(StopSignalsTest, CountsEveryKindFromZero) {
  CatchStopSignals();
  EXPECT_EQ(StopSignalCount(), 0);
  EXPECT_FALSE(*StopRequested());
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) raise(signal);
  EXPECT_EQ(StopSignalCount(), 3);
  EXPECT_TRUE(*StopRequested());
  CatchStopSignals();
  EXPECT_EQ(StopSignalCount(), 0);
  EXPECT_FALSE(*StopRequested());
}

TEST(StopSignalsTest, AHangupThatNohupHasIgnoredStaysIgnored) {
  EXPECT_EXIT(
      {
        std::signal(SIGHUP, SIG_IGN);
        CatchStopSignals();
        raise(SIGHUP);
        const int after_hangup = StopSignalCount();
        raise(SIGTERM);
        _exit(after_hangup == 0 && StopSignalCount() == 1 ? 7 : 8);
      },
      ::testing::ExitedWithCode(7), "");
}

TEST(StopSignalsTest, ExitsAtOnceUntilTheyAreCaught) {
  EXPECT_EXIT(
      {
        ExitOnStopSignals(5);
        raise(SIGTERM);
        _exit(8);
      },
      ::testing::ExitedWithCode(5), "");
  EXPECT_EXIT(
      {
        ExitOnStopSignals(5);
        CatchStopSignals();
        raise(SIGTERM);
        _exit(StopSignalCount());
      },
      ::testing::ExitedWithCode(1), "");
}

}  // namespace
}  // namespace tactus
