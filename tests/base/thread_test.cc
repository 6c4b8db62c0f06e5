#include "common/base/thread.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <new>
#include <stdexcept>
#include <string>

#include "tests/sanitized.h"

namespace tactus {
namespace {

using ::testing::ExitedWithCode;
using ::testing::HasSubstr;

TEST(ThreadTest, RunsTheBody) {
  int ran = 0;
  absl::StatusOr<std::thread> thread = StartThread("counting", [&ran] { ++ran; });
  ASSERT_TRUE(thread.ok()) << thread.status();
  thread->join();
  EXPECT_EQ(ran, 1);
}

// A stack of a size that no machine has stands for every reason there is.
TEST(ThreadDeathTest, AThreadThatCannotBeStartedIsAStatus) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer ends the program where a thread gets no memory";
  const auto start = [] {
    const rlimit none = {.rlim_cur = 0, .rlim_max = 0};
    setrlimit(RLIMIT_AS, &none);
    const absl::StatusOr<std::thread> thread = StartThread("counting", [] {});
    const bool right = absl::IsResourceExhausted(thread.status()) &&
                       thread.status().message().find("cannot start the thread for counting") == 0;
    _exit(right ? 0 : 1);
  };
  EXPECT_EXIT(start(), ExitedWithCode(0), "");
}

TEST(ThreadDeathTest, AnUncaughtExceptionEndsTheProgramWithASentence) {
  const auto end_by = [](auto exception) {
    EndOnUncaughtExceptions("tactus test");
    std::thread([&exception] { throw exception; }).join();
  };
  EXPECT_EXIT(end_by(std::bad_alloc()), ExitedWithCode(1), "tactus test: out of memory");
  EXPECT_EXIT(end_by(std::runtime_error("a reason")), ExitedWithCode(1),
              "tactus test: an unexpected failure: a reason");
  EXPECT_EXIT(end_by(7), ExitedWithCode(1), "tactus test: an unexpected failure");
}

}  // namespace
}  // namespace tactus
