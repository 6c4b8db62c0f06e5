// The table of exit codes in docs/OPERATIONS.md, each row provoked with the real programs.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <set>
#include <sstream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "common/base/file.h"
#include "common/base/folder_lock.h"
#include "tests/e2e/job.h"
#include "tools/job/child_process.h"

namespace tactus {
namespace {

namespace fs = std::filesystem;

constexpr absl::Duration kTimeout = absl::Seconds(240);

// Polls until `holds`; false after kTimeout.
template <typename Holds>
bool Await(const Holds& holds) {
  for (const absl::Time end = absl::Now() + kTimeout; absl::Now() < end; absl::SleepFor(absl::Milliseconds(20))) {
    if (holds()) return true;
  }
  return false;
}

// Exit codes by row of the document, filled in by the tests.
std::map<std::string, std::set<int>>& Provoked() {
  static auto* const codes = new std::map<std::string, std::set<int>>();
  return *codes;
}

class ExitCodes : public ::testing::Test {
 protected:
  using Words = std::vector<std::string>;

  void SetUp() override {
    root_ = ::testing::TempDir() + "/exit_codes_" + ::testing::UnitTest::GetInstance()->current_test_info()->name();
    fs::remove_all(root_);
    fs::create_directories(root_);
    log_ = root_ + "/log";
  }

  // Starts bin/`words`[0] in the source tree.
  std::unique_ptr<ChildProcess> Start(const Words& words) {
    Words argv = {"/bin/sh", "-c", "cd \"$0\" && exec \"$@\"", SourcePath(), BuildPath("bin/" + words[0])};
    argv.insert(argv.end(), words.begin() + 1, words.end());
    return ChildProcess::Start(argv, log_).value();
  }
  int Run(const Words& words) { return Start(words)->Wait(kTimeout).value_or(-1); }

  // Notes that `row` gave `code`, which must be what the document says.
  void Expect(const std::string& row, int code) {
    Provoked()[row].insert(code);
    EXPECT_EQ(std::to_string(code), Documented()[row]) << row << "\n" << LogTail(log_, 10);
  }

  Words Learner(const std::string& out, const Words& more = {}) const {
    return Join({"tactus-learner", "--config", "configs/quickstart.textproto", "--out", out, "--set",
                 "learner.threads=1", "--set", "rollout.prompts_per_step=4"},
                more);
  }
  Words Actor(const std::string& learner, const Words& more = {}) const {
    return Join({"tactus-actor", "--config", "configs/quickstart.textproto", "--learner", learner, "--set",
                 "rollout.prompts_per_step=4"},
                more);
  }
  static Words Join(Words words, const Words& more) {
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

  // The rows of "Exit codes", by what happened.
  static std::map<std::string, std::string> Documented() {
    const std::string text = ReadFile(SourcePath("docs/OPERATIONS.md")).value();
    const std::string section = text.substr(text.find("\n## Exit codes\n") + 1);
    std::map<std::string, std::string> rows;
    std::istringstream lines(section.substr(0, section.find("\n## ", 3)));
    for (std::string line; std::getline(lines, line);) {
      const std::vector<std::string> cells = absl::StrSplit(line, " | ");
      int code = 0;
      if (cells.size() != 2 || cells[0].rfind("| ", 0) != 0 ||
          !absl::SimpleAtoi(cells[1].substr(0, cells[1].size() - 2), &code)) {
        continue;
      }
      rows[cells[0].substr(2)] = std::to_string(code);
    }
    return rows;
  }

  std::string root_, log_;
};

TEST_F(ExitCodes, WhatIsReadAtTheStart) {
  Expect("the work is done", Run({"tactus", "check-config", "configs/quickstart.textproto"}));
  for (const char* program : {"tactus", "tactus-learner", "tactus-actor"}) {
    Expect("a flag that does not exist, or lacks its value", Run({program, "--none"}));
  }
  const std::string wrong = "a configuration that is wrong, or names a file that is not there";
  Expect(wrong, Run({"tactus", "check-config", "configs/quickstart.textproto", "--set", "learner.steps=none"}));
  Expect(wrong, Run({"tactus", "train", "--config", root_ + "/none"}));
  Expect(wrong, Run(Learner(root_ + "/wrong", {"--set", "model.path=/none"})));
  Expect(wrong, Run(Actor("127.0.0.1:1", {"--set", "model.path=/none"})));
  std::ofstream(root_ + "/lines.jsonl") << "{\"id\":1}\n";
  Expect("a bad line of a batch input", Run({"tactus", "verify", "--task", "countdown", "--input",
                                             root_ + "/lines.jsonl", "--output", root_ + "/out.jsonl"}));
  const int full = std::system(absl::StrCat("cd ", SourcePath(), " && ", BuildPath("bin/tactus"),
                                            " check-config configs/quickstart.textproto > /dev/full 2>> ", log_)
                                   .c_str());
  Expect("an output that cannot be written", WEXITSTATUS(full));
}

TEST_F(ExitCodes, WhatAnotherProcessHas) {
  const std::string row = "a folder or an address that another process has, or a GPU's memory that it will give back";
  fs::create_directories(root_ + "/run/checkpoints");
  {
    const FolderLock lock = FolderLock::Take(root_ + "/run/checkpoints", "us").value();
    Expect(row, Run(Learner(root_ + "/run")));
    Expect(row, Run({"tactus", "train", "--config", "configs/quickstart.textproto", "--out", root_ + "/run"}));
  }
  const int port = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(bind(port, reinterpret_cast<const sockaddr*>(&address), size), 0);
  ASSERT_EQ(listen(port, 1), 0);
  ASSERT_EQ(getsockname(port, reinterpret_cast<sockaddr*>(&address), &size), 0);
  const std::string taken = absl::StrCat("127.0.0.1:", ntohs(address.sin_port));
  Expect(row, Run(Learner(root_ + "/address", {"--set", "service.listen=" + taken})));
  Expect(row, Run(Learner(root_ + "/metrics", {"--metrics-listen=" + taken})));
  close(port);
}

TEST_F(ExitCodes, PeersThatAreNotThereOrSayNo) {
  const std::string absent =
      "a peer that does not come: a rank within `learner.collective_timeout_s`, a learner within `--learner-timeout-s`";
  Expect(absent, Run(Learner(root_ + "/alone", {"--world", "2", "--store", "127.0.0.1:29717", "--set",
                                                "learner.collective_timeout_s=1"})));
  Expect(absent, Run(Actor("127.0.0.1:1", {"--learner-timeout-s", "1"})));

  const std::string ready = root_ + "/ready";
  const auto learner = Start(Learner(root_ + "/run", {"--ready-file", ready}));
  ASSERT_TRUE(Await([&] { return fs::exists(ready); })) << LogTail(log_, 10);
  const std::string text = ReadFile(ready).value();
  const size_t at = text.find("127.0.0.1:");
  const std::string address = text.substr(at, text.find('"', at) - at);
  Expect("an actor that its learner refuses: another run, configuration or release",
         Run(Actor(address, {"--set", "seed=9"})));
  const auto actor = Start(Actor(address));
  ASSERT_TRUE(Await([&] { return ReadFile(log_)->find("attached from") != std::string::npos; })) << LogTail(log_, 10);
  actor->Signal(SIGTERM);
  Expect("an actor that was asked to stop", actor->Wait(kTimeout).value_or(-1));
  learner->Signal(SIGTERM);
  Expect("a learner that was asked to stop before its last step, also by `learner.time_limit_s`",
         learner->Wait(kTimeout).value_or(-1));
}

TEST_F(ExitCodes, ALearnerThatIsStoppedWhileItWaitsForItsRanks) {
  const auto learner = Start(Learner(root_ + "/run", {"--world", "2", "--store", "127.0.0.1:29718"}));
  ASSERT_TRUE(Await([&] {
    const absl::StatusOr<std::string> log = ReadFile(log_);
    return log.ok() && log->find("serving metrics at") != std::string::npos;
  })) << LogTail(log_, 10);
  learner->Signal(SIGTERM);
  Expect("a learner that was asked to stop before its last step, also by `learner.time_limit_s`",
         learner->Wait(kTimeout).value_or(-1));
}

TEST_F(ExitCodes, ARunThatHasTrained) {
  fs::copy(SourcePath("models/quickstart"), root_ + "/model", fs::copy_options::recursive);
  Job job("exit_codes", {"--actors", "1", "--set", "learner.steps=2", "--set", "eval.max_prompts=0", "--set",
                         "model.path=" + root_ + "/model"});
  Expect("the work is done", job.Wait());
  const RunFolder& run = job.folder();
  Expect("a new run in a folder that holds one",
         Run({"tactus", "train", "--config", "configs/quickstart.textproto", "--out", run.root}));
  const Words resume = {"tactus-learner", "--config", run.config(), "--out", run.root, "--resume"};
  Expect("a checkpoint of another configuration", Run(Join(resume, {"--set", "seed=9"})));
  fs::rename(root_ + "/model", root_ + "/away");
  const std::string lost = "what was there when the run trained and is not now: a mount, a folder";
  Expect(lost, Run(resume));
  Expect(lost, Run({"tactus", "train", "--resume", run.root}));
  fs::rename(root_ + "/away", root_ + "/model");
  for (const auto& entry : fs::recursive_directory_iterator(run.checkpoints())) {
    if (entry.path().filename() == "state.pb") fs::resize_file(entry.path(), 3);
  }
  Expect("no checkpoint that is good", Run(resume));

  // Killed before its first checkpoint.
  for (const auto& entry : fs::directory_iterator(run.checkpoints())) {
    if (entry.is_directory()) fs::remove_all(entry.path());
  }
  fs::rename(root_ + "/model", root_ + "/away");
  Expect(lost, Run(resume));
  // Not even the folder can be made, as under a mount point that nobody may write to.
  Expect(lost, Run(Learner(log_ + "/run", {"--resume"})));
}

TEST_F(ExitCodes, ARunThatTrains) {
  const auto after_a_step = [](const std::string& name, const std::function<void(Job&)>& what) {
    Job job(name, {"--actors", "1", "--set", "learner.steps=1000", "--set", "eval.max_prompts=0"});
    bool done = false;
    return job.Wait([&] {
      if (done || job.Steps().empty()) return;
      what(job);
      done = true;
    });
  };
  Expect("`tactus train` or `tactus ranks` that was asked to stop, also by `learner.time_limit_s`, after a checkpoint",
         after_a_step("exit_stop", [](Job& job) { job.Signal(SIGINT); }));
  Job timed("exit_time", {"--actors", "1", "--set", "learner.steps=100000", "--set", "eval.max_prompts=0", "--set",
                          "checkpoint.every_steps=0", "--set", "learner.time_limit_s=4"});
  Expect("`tactus train` or `tactus ranks` that was asked to stop, also by `learner.time_limit_s`, after a checkpoint",
         timed.Wait());
  EXPECT_NE(ReadFile(timed.folder().logs() + "/learner-0.log")->find("stopped by learner.time_limit_s = 4, after step"),
            std::string::npos);
  EXPECT_EQ(NewestCheckpoint(timed.folder()),
            timed.folder().checkpoints() + "/" + CheckpointName(timed.Steps().empty() ? 0 : timed.Steps().back().step));
  Expect("a process that was killed, or failed", after_a_step("exit_kill", [](Job& job) {
           for (const int pid : job.Processes("tactus-learner")) kill(pid, SIGKILL);
         }));
  Expect("what was there when the run trained and is not now: a mount, a folder",
         after_a_step("exit_lost", [](Job& job) {
           std::error_code error;
           do {
             fs::remove_all(job.folder().root, error);
           } while (error);
         }));
}

// On two ranks, which both see that it goes on for nothing.
TEST_F(ExitCodes, ATrainingThatHasDiverged) {
  Job job("exit_diverged", {"--actors", "1", "--learners", "2", "--set", "learner.steps=1000", "--set",
                            "eval.max_prompts=0", "--set", "checkpoint.every_steps=0", "--set",
                            "optimizer.skip_grad_norm=1e-9", "--set", "optimizer.max_skipped_updates=2"});
  Expect("a training that has diverged: `optimizer.max_skipped_updates`", job.Wait());
  const std::vector<StepRecord> steps = job.Steps();
  ASSERT_GE(steps.size(), 2u);
  EXPECT_EQ(NewestCheckpoint(job.folder()), job.folder().checkpoints() + "/" + CheckpointName(steps.back().step));
  for (const char* log : {"/learner-0.log", "/learner-1.log"}) {
    EXPECT_NE(ReadFile(job.folder().logs() + log)->find("the last 2 updates were skipped"), std::string::npos) << log;
  }
}

// Runs last: the binary runs its tests in this order.
TEST_F(ExitCodes, EveryRowWasProvoked) {
  if (Provoked().empty()) GTEST_SKIP() << "the tests above have not run in this process";
  const std::map<std::string, std::string> rows = Documented();
  EXPECT_GT(rows.size(), 10u);
  for (const auto& [row, code] : rows) EXPECT_EQ(Provoked().count(row), 1u) << "nothing provokes: " << row;
}

}  // namespace
}  // namespace tactus
