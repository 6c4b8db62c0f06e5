#include "tools/job/child_process.h"

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "absl/strings/numbers.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tactus {
namespace {

constexpr absl::Duration kLong = absl::Seconds(20);

class ChildProcessTest : public ::testing::Test {
 protected:
  std::string log_ = ::testing::TempDir() + "/child_process_test.log";
  void SetUp() override { std::filesystem::remove(log_); }
  std::unique_ptr<ChildProcess> Shell(const std::string& script) {
    return ChildProcess::Start({"/bin/sh", "-c", script}, log_).value();
  }
};

TEST_F(ChildProcessTest, ReportsExitCodesAndSignals) {
  EXPECT_EQ(Shell("exit 0")->Wait(kLong), 0);
  EXPECT_EQ(Shell("exit 2")->Wait(kLong), 2);
  EXPECT_EQ(Shell("kill -9 $$")->Wait(kLong), 128 + 9);
  auto sleeper = Shell("sleep 100");
  EXPECT_EQ(sleeper->Poll(), std::nullopt);
  EXPECT_EQ(sleeper->Wait(absl::Milliseconds(1)), std::nullopt);
  sleeper->Signal(SIGTERM);
  EXPECT_EQ(sleeper->Wait(kLong), 128 + SIGTERM);
  sleeper->Signal(SIGTERM);  // nothing to signal any more
}

TEST_F(ChildProcessTest, BothOutputsAreAppendedToTheLog) {
  EXPECT_EQ(Shell("echo one; echo two >&2")->Wait(kLong), 0);
  EXPECT_EQ(Shell("echo three; cat")->Wait(kLong), 0) << "stdin is empty, not the terminal";
  EXPECT_EQ(LogTail(log_, 10), "one\ntwo\nthree");
  EXPECT_EQ(LogTail(log_, 2), "two\nthree");
  EXPECT_EQ(LogTail(log_, 0), "");
  EXPECT_EQ(LogTail("/nonexistent", 3), "");
  std::ofstream(log_) << std::string(100000, 'x') << "\nlast\n";
  EXPECT_LE(LogTail(log_, 10).size(), 16384u);
  EXPECT_EQ(LogTail(log_, 1), "last");
}

TEST_F(ChildProcessTest, StandardOutputCanGoToAFileOfItsOwn) {
  const std::string output = ::testing::TempDir() + "/child_process_test.out";
  std::ofstream(output) << "what an earlier one left, and longer";
  const auto process = ChildProcess::Start({"/bin/sh", "-c", "echo one; echo two >&2"}, log_, {}, output);
  EXPECT_EQ((*process)->Wait(kLong), 0);
  EXPECT_EQ(LogTail(output, 10), "one");
  EXPECT_EQ(LogTail(log_, 10), "two");
  const auto nowhere = ChildProcess::Start({"/bin/true"}, log_, {}, "/nonexistent/output");
  EXPECT_THAT(std::string(nowhere.status().message()), ::testing::HasSubstr("cannot open the output /nonexistent"));
}

TEST_F(ChildProcessTest, AMissingProgramIsAnErrorOfStart) {
  const auto process = ChildProcess::Start({"/nonexistent/program"}, log_);
  EXPECT_EQ(process.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(process.status().message()), ::testing::HasSubstr("/nonexistent/program"));
  EXPECT_FALSE(ChildProcess::Start({"/bin/true"}, "/nonexistent/log").ok());
}

TEST_F(ChildProcessTest, AnAddedVariableWinsOverThisProcesssOwn) {
  setenv("CHILD_PROCESS_TEST", "parent", 1);
  const auto run = [this](const std::vector<std::string>& environment) {
    return ChildProcess::Start({"/bin/sh", "-c", "echo $CHILD_PROCESS_TEST $MORE; test -n \"$PATH\""}, log_,
                               environment)
        .value()
        ->Wait(kLong);
  };
  EXPECT_EQ(run({}), 0);
  EXPECT_EQ(run({"CHILD_PROCESS_TEST=child", "MORE=too"}), 0);
  EXPECT_EQ(LogTail(log_, 10), "parent\nchild too");
}

TEST_F(ChildProcessTest, WithoutALogItWritesWhereThisProcessDoes) {
  const std::string file = ::testing::TempDir() + "/child_process_test.stderr";
  const int ours = dup(STDERR_FILENO);
  ASSERT_NE(std::freopen(file.c_str(), "w", stderr), nullptr);
  const auto code = ChildProcess::Start({"/bin/sh", "-c", "echo one; echo two >&2"}, "").value()->Wait(kLong);
  std::fflush(stderr);
  dup2(ours, STDERR_FILENO);
  close(ours);
  EXPECT_EQ(code, 0);
  EXPECT_EQ(LogTail(file, 10), "one\ntwo");
}

TEST_F(ChildProcessTest, DestructionKills) {
  pid_t pid = 0;
  {
    auto process = Shell("trap '' TERM; sleep 100");
    pid = process->pid();
  }
  EXPECT_EQ(kill(pid, 0), -1);
}

TEST_F(ChildProcessTest, CountsCpuTime) {
  auto busy = Shell("i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done");
  EXPECT_EQ(busy->Wait(kLong), 0);
  EXPECT_GT(busy->cpu_seconds(), 0.0);
}

// A middle process starts a child, says its pid and is killed; the child must go too.
TEST_F(ChildProcessTest, AChildDoesNotOutliveItsParent) {
  int report[2];
  ASSERT_EQ(pipe(report), 0);
  const pid_t middle = fork();
  if (middle == 0) {
    auto process = ChildProcess::Start({"/bin/sh", "-c", "exec sleep 100"}, log_).value();
    const pid_t pid = process->pid();
    [[maybe_unused]] const ssize_t ignored = write(report[1], &pid, sizeof pid);
    pause();
    _exit(0);
  }
  pid_t child = 0;
  ASSERT_EQ(read(report[0], &child, sizeof child), static_cast<ssize_t>(sizeof child));
  kill(middle, SIGKILL);
  waitpid(middle, nullptr, 0);
  const auto gone = [child] {  // reaped by init, or a zombie that nobody reaps in a container
    std::ifstream stat("/proc/" + std::to_string(child) + "/stat");
    std::string pid, name, state;
    return !(stat >> pid >> name >> state) || state == "Z" || state == "X";
  };
  for (const absl::Time deadline = absl::Now() + kLong; !gone() && absl::Now() < deadline;) {
    absl::SleepFor(absl::Milliseconds(10));
  }
  EXPECT_TRUE(gone());
  close(report[0]);
  close(report[1]);
}

}  // namespace
}  // namespace tactus
