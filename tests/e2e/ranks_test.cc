// The processes as a cluster runs them: `tactus ranks` for a host's learner ranks, actors beside it, flags from the
// environment, --resume always. A stop asked of any one rank must end all of them in order, with a checkpoint.
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "common/base/file.h"
#include "common/base/listen_socket.h"
#include "common/metrics/run_folder.h"
#include "tests/tree.h"
#include "tools/job/child_process.h"

namespace tactus {
namespace {

namespace fs = std::filesystem;

constexpr absl::Duration kJobTimeout = absl::Seconds(240);

class RanksTest : public ::testing::Test {
 protected:
  RunFolder folder_{::testing::TempDir() + "/ranks_test"};
  const std::string log_ = folder_.root + ".log";
  const std::string config_ = SourcePath("configs/quickstart.textproto");
  const std::vector<std::string> settings_ = {"model.path=" + SourcePath("models/quickstart"),
                                              "rollout.prompts_per_step=6", "rollout.completions_per_prompt=4",
                                              "learner.threads=1", "checkpoint.every_steps=0"};

  void SetUp() override {
    fs::remove_all(folder_.root);
    fs::remove(log_);
    fs::create_directories(folder_.root);
  }
  std::unique_ptr<ChildProcess> StartRanks(const std::string& steps) {
    const std::string listen = absl::StrCat("127.0.0.1:", port_);
    std::vector<std::string> argv = {BuildPath("bin/tactus"), "ranks", "--"};
    for (const std::string& set : settings_) argv.insert(argv.end(), {"--set", set});
    argv.insert(argv.end(), {"--set", absl::StrCat("service.listen=", listen), "--set", "learner.steps=" + steps});
    return ChildProcess::Start(argv, log_,
                               {"TACTUS_RANKS_PER_HOST=2", "TACTUS_METRICS_FROM=127.0.0.1:0", "TACTUS_RESUME=true",
                                absl::StrCat("TACTUS_CONFIG=", config_), absl::StrCat("TACTUS_OUT=", folder_.root),
                                absl::StrCat("TACTUS_STORE=127.0.0.1:", FreePort().value())})
        .value();
  }
  // One rank of two, whom nobody ends when the other has gone.
  std::unique_ptr<ChildProcess> StartRank(int rank, int store_port) {
    std::vector<std::string> argv = {BuildPath("bin/tactus-learner")};
    for (const std::string& set : settings_) argv.insert(argv.end(), {"--set", set});
    argv.insert(argv.end(), {"--set", absl::StrCat("service.listen=127.0.0.1:", port_)});
    return ChildProcess::Start(
               argv, log_,
               {absl::StrCat("TACTUS_RANK=", rank), "TACTUS_WORLD=2", "TACTUS_METRICS_LISTEN=127.0.0.1:0",
                absl::StrCat("TACTUS_CONFIG=", config_), absl::StrCat("TACTUS_OUT=", folder_.root),
                absl::StrCat("TACTUS_STORE=127.0.0.1:", store_port)})
        .value();
  }
  std::unique_ptr<ChildProcess> StartActor() {
    std::vector<std::string> argv = {BuildPath("bin/tactus-actor")};
    for (const std::string& set : settings_) argv.insert(argv.end(), {"--set", set});
    return ChildProcess::Start(argv, log_,
                               {absl::StrCat("TACTUS_CONFIG=", config_), "TACTUS_INSTANCE=actor-a",
                                "TACTUS_METRICS_LISTEN=127.0.0.1:0", absl::StrCat("TACTUS_LEARNER=127.0.0.1:", port_)})
        .value();
  }
  // The process of the learner with these words in its command line.
  pid_t PidOf(const std::string& words) const {
    for (const auto& entry : fs::directory_iterator("/proc")) {
      std::ifstream file(entry.path() / "cmdline", std::ios::binary);
      std::string line((std::istreambuf_iterator<char>(file)), {});
      std::replace(line.begin(), line.end(), '\0', ' ');
      if (line.find("tactus-learner") == std::string::npos || line.find(words) == std::string::npos) continue;
      if (line.find(absl::StrCat("127.0.0.1:", port_)) != std::string::npos) return std::stoi(entry.path().filename());
    }
    return -1;
  }
  size_t Steps() const {
    const absl::StatusOr<std::vector<StepRecord>> steps = ReadSteps(folder_.metrics());
    return steps.ok() ? steps->size() : 0;
  }
  void AwaitSteps(size_t steps) const {
    for (const absl::Time end = absl::Now() + kJobTimeout; Steps() < steps && absl::Now() < end;) {
      absl::SleepFor(absl::Milliseconds(20));
    }
    ASSERT_GE(Steps(), steps) << LogTail(log_, 20);
  }
  const int port_ = FreePort().value();  // of the learner, whenever it is started
};

// Only the last step finishes a run: an actor attached to a learner that is stopped stays for the next one.
TEST_F(RanksTest, AStopOfOneRankStopsAllWithACheckpointAndTheRunGoesOn) {
  const auto actor = StartActor();
  {
    const auto ranks = StartRanks("40");
    AwaitSteps(1);
    const pid_t follower = PidOf("--rank 1 --world 2");
    ASSERT_GT(follower, 0);
    ASSERT_EQ(kill(follower, SIGTERM), 0);
    ASSERT_EQ(ranks->Wait(kJobTimeout), 130) << LogTail(log_, 20);
  }
  const size_t stopped_at = Steps();
  EXPECT_LT(stopped_at, 40u) << "the run was over before it could be stopped";
  EXPECT_EQ(fs::path(NewestCheckpoint(folder_)).filename(), absl::StrFormat("step-%06d", stopped_at));

  const auto ranks = StartRanks(absl::StrCat(stopped_at + 2));
  ASSERT_EQ(ranks->Wait(kJobTimeout), 0) << LogTail(log_, 20);
  EXPECT_EQ(Steps(), stopped_at + 2);
  EXPECT_EQ(actor->Wait(kJobTimeout), 0) << LogTail(log_, 20);
}

// No checkpoint yet: the run begins again, and what was acknowledged under the starting weights is used again.
TEST_F(RanksTest, AKillBeforeTheFirstCheckpointStartsOver) {
  {
    const auto ranks = StartRanks("40");
    const auto actor = StartActor();
    AwaitSteps(2);
    ranks->Signal(SIGKILL);
    EXPECT_EQ(ranks->Wait(kJobTimeout), 128 + SIGKILL);
  }
  ASSERT_EQ(NewestCheckpoint(folder_), "");
  const auto ranks = StartRanks("3");
  const auto actor = StartActor();
  ASSERT_EQ(ranks->Wait(kJobTimeout), 0) << LogTail(log_, 20);
  EXPECT_EQ(Steps(), 3u);
}

TEST_F(RanksTest, ARankThatIsGoneBetweenStepsCostsNoStep) {
  const int store = FreePort().value();
  const auto first = StartRank(0, store), second = StartRank(1, store);
  {
    const auto actor = StartActor();
    AwaitSteps(2);
  }
  const auto waits = [&] { return LogTail(log_, 1000).find("; 0 actors attached") != std::string::npos; };
  for (const absl::Time end = absl::Now() + kJobTimeout; !waits() && absl::Now() < end;) {
    absl::SleepFor(absl::Milliseconds(20));
  }
  ASSERT_TRUE(waits()) << LogTail(log_, 20);
  second->Signal(SIGKILL);
  EXPECT_EQ(first->Wait(kJobTimeout), 1) << LogTail(log_, 20);
  EXPECT_EQ(fs::path(NewestCheckpoint(folder_)).filename(), absl::StrFormat("step-%06d", Steps()));
}

TEST_F(RanksTest, AMistakeEndsAllRanksWithExitCodeTwo) {
  const auto ranks = StartRanks("none");
  ASSERT_EQ(ranks->Wait(kJobTimeout), 2);
  const std::string log = LogTail(log_, 20);
  EXPECT_NE(log.find("learner.steps"), std::string::npos) << log;
}

}  // namespace
}  // namespace tactus
