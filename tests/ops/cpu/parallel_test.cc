#include "common/ops/cpu/parallel.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "tests/sanitized.h"

namespace tactus::ops {
namespace {

TEST(ParallelForTest, CoversEveryIndexOnceForAnySizeAndThreadCount) {
  for (const int threads : {1, 2, 4}) {
    SetThreads(threads);
    EXPECT_EQ(Threads(), threads);
    for (const int64_t count : {0, 1, 3, 7, 64, 1001}) {
      for (const int64_t grain : {1, 8, 100}) {
        std::vector<std::atomic<int>> seen(static_cast<size_t>(count));
        ParallelFor(count, grain, [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) ++seen[static_cast<size_t>(i)];
        });
        for (const auto& times : seen) ASSERT_EQ(times, 1);
      }
    }
  }
  SetThreads(1);
}

std::atomic<bool> held{false}, released{false};

// A worker whose core is taken from it, here by a signal handler that does not return, holds nobody up: the caller does
// all the work. It takes part again when it is back.
TEST(ParallelForTest, WhoDoesNotComeIsNotWaitedFor) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer delivers signals when it likes";
  const auto without_worker = [] {
    ::alarm(60);  // ends a process that waits for ever
    SetThreads(2);
    ParallelFor(2, 1, [](int64_t, int64_t) {});
    std::signal(SIGUSR1, [](int) {
      held = true;
      while (!released) continue;
    });
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
      const int id = std::stoi(task.path().filename());
      if (id != ::getpid()) ::syscall(SYS_tgkill, ::getpid(), id, SIGUSR1);
    }
    while (!held) std::this_thread::yield();
    std::atomic<int64_t> total{0};
    for (int i = 0; i < 100; ++i) {
      ParallelFor(100, 1, [&](int64_t begin, int64_t end) { total += end - begin; });
    }
    if (total != 100 * 100) std::_Exit(1);
    released = true;
    std::atomic<int> inside{0};
    ParallelFor(2, 1, [&](int64_t, int64_t) {
      ++inside;
      while (inside < 2) std::this_thread::yield();  // until both threads are in a piece
    });
    std::_Exit(0);
  };
  EXPECT_EXIT(without_worker(), testing::ExitedWithCode(0), "");
}

// Two threads compute one range of two equal pieces: about twice the time inside, and never more.
TEST(ParallelForTest, SaysHowLongItsThreadsComputed) {
  SetThreads(2);
  ParallelFor(2, 1, [](int64_t, int64_t) {});
  EXPECT_EQ(ParallelTimesSoFar().ranges, 0) << "nothing was asked for yet";
  MeasureParallel();
  std::atomic<int> started{0};
  ParallelFor(2, 1, [&](int64_t, int64_t) {
    ++started;
    while (started < 2) std::this_thread::yield();  // until both threads are in a piece
  });
  const ParallelTimes times = ParallelTimesSoFar();
  EXPECT_EQ(times.ranges, 1);
  EXPECT_GT(times.computing_ns, 0);
  EXPECT_LE(times.computing_ns, 2 * times.inside_ns);
  ParallelFor(5, 5, [](int64_t, int64_t) {});
  EXPECT_EQ(ParallelTimesSoFar().ranges, 1) << "a range that is not split";
  SetThreads(1);
  EXPECT_EQ(ParallelTimesSoFar().ranges, 0);
}

// As under a limit of processes: what there is does the work.
TEST(ParallelForTest, ThreadsThatTheSystemRefusesAreDoneWithout) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer ends the program where a thread gets no memory";
  const auto with_little_memory = [] {
    const rlimit limit{rlim_t{1} << 30, rlim_t{1} << 30};  // of addresses: a stack takes 8 MiB of them
    if (setrlimit(RLIMIT_AS, &limit) != 0) std::exit(2);
    SetThreads(4096);
    std::atomic<int64_t> total{0};
    ParallelFor(100, 1, [&](int64_t begin, int64_t end) { total += end - begin; });
    std::fprintf(stderr, "done by %d threads", Threads());
    std::_Exit(total == 100 ? 0 : 1);
  };
  EXPECT_EXIT(with_little_memory(), testing::ExitedWithCode(0), "done by [0-9]{1,3} threads");
}

TEST(ParallelForTest, NestedCallsAndCallsFromSeveralThreadsFinish) {
  SetThreads(3);
  std::atomic<int64_t> total{0};
  std::vector<std::thread> callers;
  callers.reserve(4);
  for (int c = 0; c < 4; ++c) {
    callers.emplace_back([&] {
      for (int i = 0; i < 50; ++i) {
        ParallelFor(20, 1, [&](int64_t begin, int64_t end) {
          for (int64_t j = begin; j < end; ++j) {
            ParallelFor(5, 1, [&](int64_t b, int64_t e) { total += e - b; });
          }
        });
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(total, 4 * 50 * 20 * 5);
  SetThreads(1);
}

}  // namespace
}  // namespace tactus::ops
