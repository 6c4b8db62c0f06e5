// Supervision, with shell scripts that keep the processes' side of the contract in tools/job/train_job.h (or break it).
#include "tools/job/train_job.h"

#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/config/run_config.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/config.pb.h"

namespace tactus {
namespace {

using ::testing::HasSubstr;

// Reads the flags that the scripts use.
constexpr char kArguments[] = R"sh(#!/bin/sh
args="$*"
while [ $# -gt 0 ]; do
  case "$1" in
    --out) out=$2;; --ready-file) ready=$2;; --rank) rank=$2;; --learner) learner=$2;; --instance) instance=$2;;
  esac
  shift
done
)sh";

constexpr char kServe[] = R"sh(
echo "$args" >> "$out/learner-args"
if [ "$rank" = 0 ]; then
  echo '{"listen":"127.0.0.1:7001","metrics":"127.0.0.1:7002"}' > "$ready.tmp"; mv "$ready.tmp" "$ready"
fi
)sh";

constexpr char kThreeSteps[] = R"sh(
for i in 1 2 3; do echo "{\"step\":$i,\"version\":\"0.$i\",\"reward_mean\":0.$i}" >> "$out/metrics.jsonl"; done
mkdir -p "$out/checkpoints/step-000003"
)sh";

class TrainJobTest : public ::testing::Test {
 protected:
  RunFolder folder_{::testing::TempDir() + "/train_job_test/run"};
  std::string binaries_ = ::testing::TempDir() + "/train_job_test/bin";

  void SetUp() override {
    std::filesystem::remove_all(::testing::TempDir() + "/train_job_test");
    std::filesystem::create_directories(folder_.logs());
    std::filesystem::create_directories(binaries_);
  }
  void Script(const std::string& name, const std::string& body) {
    std::ofstream(binaries_ + "/" + name) << kArguments << body;
    std::filesystem::permissions(binaries_ + "/" + name, std::filesystem::perms::owner_all);
  }
  TrainJobOptions Options() {
    TrainJobOptions options;
    options.config = std::make_shared<const config::RunConfig>(
        config::ParseRunConfig("model{path:'m'} task{name:'countdown'} service{plaintext:true}", "t",
                               {"learner.steps=3"})
            .value());
    options.folder = folder_;
    options.binary_folder = binaries_;
    options.actors = 2;
    return options;
  }
  std::string File(const std::string& name) {
    std::ifstream file(folder_.root + "/" + name);
    return std::string(std::istreambuf_iterator<char>(file), {});
  }
};

TEST_F(TrainJobTest, RunsToTheEndAndWritesTheReport) {
  Script("tactus-learner",
         absl::StrCat(kServe, "while [ ! -e \"$out/actor-seen\" ]; do sleep 0.05; done", kThreeSteps));
  Script("tactus-actor", absl::StrCat("echo \"$args\" > ", folder_.root, "/$instance-args; touch ", folder_.root,
                                      "/actor-seen; exec sleep 100"));
  TrainJobOptions options = Options();
  options.learners = 2;
  ASSERT_EQ(TrainJob(options).Run(), absl::OkStatus());
  EXPECT_THAT(File("actor-0-args"), HasSubstr("--learner 127.0.0.1:7001 --instance actor-0"));
  EXPECT_THAT(File("learner-args"), HasSubstr("--rank 1 --world 2 --store 127.0.0.1:"));
  EXPECT_THAT(File("report.html"), HasSubstr("<h2>Curves</h2>"));
  EXPECT_TRUE(std::filesystem::exists(folder_.logs() + "/actor-1.log"));
}

TEST_F(TrainJobTest, EachProcessIsToldItsDevice) {
  Script("tactus-learner",
         absl::StrCat(kServe, "while [ ! -e \"$out/actor-seen\" ]; do sleep 0.05; done", kThreeSteps));
  Script("tactus-actor", absl::StrCat("echo \"$args\" > ", folder_.root, "/$instance-args; touch ", folder_.root,
                                      "/actor-seen; exec sleep 100"));
  TrainJobOptions options = Options();
  options.learners = 2;
  options.actors = 1;
  options.devices.learners = {{"learner-0", Device{0}, "a GPU"}, {"learner-1", Device{1}, "a GPU"}};
  options.devices.actors = {{"actor-0", Device{2}, "a GPU"}};
  ASSERT_EQ(TrainJob(options).Run(), absl::OkStatus());
  EXPECT_THAT(File("learner-args"), HasSubstr("--rank 0 "));
  EXPECT_THAT(File("learner-args"), HasSubstr("--device cuda:0 "));
  EXPECT_THAT(File("learner-args"), HasSubstr("--device cuda:1"));
  EXPECT_THAT(File("actor-0-args"), HasSubstr("--device cuda:2"));
}

TEST_F(TrainJobTest, ADeadActorIsStartedAgain) {
  Script("tactus-learner", absl::StrCat(kServe, "while [ ! -e \"$out/second\" ]; do sleep 0.05; done", kThreeSteps));
  Script("tactus-actor", absl::StrCat("cd ", folder_.root, "\nif [ -e first ]; then touch second; exec sleep 100; fi\n",
                                      "touch first; kill -9 $$\n"));
  TrainJobOptions options = Options();
  options.actors = 1;
  EXPECT_EQ(TrainJob(options).Run(), absl::OkStatus());
}

TEST_F(TrainJobTest, ADeadLearnerEndsTheJobWithItsLog) {
  Script("tactus-learner", absl::StrCat(kServe, "echo 'out of memory at layer 7' >&2; exit 1\n"));
  Script("tactus-actor", "exec sleep 100\n");
  const absl::Status status = TrainJob(Options()).Run();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr("learner-0 ended with exit code 1"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("out of memory at layer 7"));
}

TEST_F(TrainJobTest, AUsersMistakeInAProcessIsAUsersMistake) {
  Script("tactus-learner", "echo 'model.path: no such folder' >&2; exit 2\n");
  Script("tactus-actor", "exec sleep 100\n");
  EXPECT_EQ(TrainJob(Options()).Run().code(), absl::StatusCode::kInvalidArgument);
  Script("tactus-learner", absl::StrCat(kServe, "exec sleep 100\n"));
  Script("tactus-actor", "exit 2\n");
  EXPECT_EQ(TrainJob(Options()).Run().code(), absl::StatusCode::kInvalidArgument);
}

// An error of an actor does not cost the learner's checkpoint.
TEST_F(TrainJobTest, WhateverEndsTheJobStopsTheLearnerInOrder) {
  Script("tactus-learner", absl::StrCat("trap 'mkdir -p $out/checkpoints/step-000002; exit 3' TERM", kServe,
                                        "while :; do sleep 0.05; done\n"));
  Script("tactus-actor", "exit 2\n");
  EXPECT_EQ(TrainJob(Options()).Run().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(NewestCheckpoint(folder_), folder_.checkpoints() + "/step-000002");
}

// What an actor was given was good: a mount that is lost for a moment is no reason to end.
TEST_F(TrainJobTest, AfterAStepNothingAnActorSaysIsAMistakeOfTheUser) {
  Script("tactus-learner", absl::StrCat(kServe, "while [ ! -e \"$out/started\" ]; do sleep 0.05; done\n",
                                        "echo '{\"step\":1,\"version\":\"0.1\"}' >> \"$out/metrics.jsonl\"\n",
                                        "while [ ! -e \"$out/second\" ]; do sleep 0.05; done", kThreeSteps));
  Script("tactus-actor",
         absl::StrCat("cd ", folder_.root, "\nif [ -e first ]; then touch second; exec sleep 100; fi\n",
                      "touch started; while [ ! -s metrics.jsonl ]; do sleep 0.05; done; touch first; exit 2\n"));
  TrainJobOptions options = Options();
  options.actors = 1;
  EXPECT_EQ(TrainJob(options).Run(), absl::OkStatus());
}

TEST_F(TrainJobTest, ABadReadyFileIsNamed) {
  Script("tactus-learner", "echo '{\"listen\":7}' > \"$ready.tmp\"; mv \"$ready.tmp\" \"$ready\"; exec sleep 100\n");
  Script("tactus-actor", "exec sleep 100\n");
  EXPECT_THAT(std::string(TrainJob(Options()).Run().message()),
              HasSubstr("learner-0.ready: listen: expected a string"));
}

// SIGINT to this process once the file `when` exists, `count` times.
std::thread InterruptWhen(const std::string& when, int count) {
  return std::thread([when, count] {
    while (!std::filesystem::exists(when)) absl::SleepFor(absl::Milliseconds(10));
    for (int i = 0; i < count; ++i) {
      kill(getpid(), SIGINT);
      absl::SleepFor(absl::Milliseconds(300));
    }
  });
}

TEST_F(TrainJobTest, CtrlCCheckpointsFirst) {
  Script("tactus-learner", absl::StrCat("trap 'mkdir -p $out/checkpoints/step-000002; exit 0' TERM", kServe,
                                        "touch $out/serving; while :; do sleep 0.05; done\n"));
  Script("tactus-actor", "exec sleep 100\n");
  std::thread interrupt = InterruptWhen(folder_.root + "/serving", 1);
  const absl::Status status = TrainJob(Options()).Run();
  interrupt.join();
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled) << status;
  EXPECT_EQ(NewestCheckpoint(folder_), folder_.checkpoints() + "/step-000002");
}

TEST_F(TrainJobTest, ASecondCtrlCEndsAtOnce) {
  Script("tactus-learner", absl::StrCat("trap '' TERM", kServe, "touch $out/serving; while :; do sleep 0.05; done\n"));
  Script("tactus-actor", "trap '' TERM; while :; do sleep 0.05; done\n");
  std::thread interrupt = InterruptWhen(folder_.root + "/serving", 2);
  const absl::Status status = TrainJob(Options()).Run();
  interrupt.join();
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
  EXPECT_THAT(std::string(status.message()), HasSubstr("ended at once"));
}

TEST_F(TrainJobTest, ResumeSaysSoAndKeepsTheHistory) {
  std::ofstream(folder_.metrics()) << "{\"step\":1,\"version\":\"0.1\"}\n";
  Script("tactus-learner", absl::StrCat(kServe, "sleep 0.3", kThreeSteps));
  Script("tactus-actor", "exec sleep 100\n");
  TrainJobOptions options = Options();
  options.resume = true;
  EXPECT_EQ(TrainJob(options).Run(), absl::OkStatus());
  EXPECT_THAT(File("learner-args"), HasSubstr("--resume"));
}

TEST(StepFollowerTest, ReturnsOnlyCompleteLines) {
  const std::string path = ::testing::TempDir() + "/step_follower_test.jsonl";
  std::filesystem::remove(path);
  StepFollower follower(path);
  EXPECT_TRUE(follower.Poll().empty()) << "no file yet";
  std::ofstream file(path, std::ios::app);
  file << "{\"step\":1}\n{\"st" << std::flush;
  ASSERT_EQ(follower.Poll().size(), 1u);
  EXPECT_TRUE(follower.Poll().empty());
  file << "ep\":2}\nnonsense\n{\"step\":3}\n" << std::flush;
  const std::vector<StepRecord> records = follower.Poll();
  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(records[0].step, 2);
  EXPECT_EQ(records[1].step, 3);
}

}  // namespace
}  // namespace tactus
