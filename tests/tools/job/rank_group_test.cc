// A host's ranks, with shell scripts in place of tactus-learner.
#include "tools/job/rank_group.h"

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tactus {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class RankGroupTest : public ::testing::Test {
 protected:
  std::string folder_ = ::testing::TempDir() + "/rank_group_test";
  RankGroupOptions options_{.learner = folder_ + "/learner", .flags = {"--out", folder_}, .ranks = 3};

  void SetUp() override {
    unsetenv("CUDA_VISIBLE_DEVICES");
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  // $4 is the rank: --out DIR --rank R --world W.
  void Script(const std::string& body) {
    std::ofstream(options_.learner) << "#!/bin/sh\nout=$2 rank=$4\n" << body << "\n";
    std::filesystem::permissions(options_.learner, std::filesystem::perms::owner_all);
  }
  bool Exists(const std::string& name) const { return std::filesystem::exists(folder_ + "/" + name); }
};

TEST_F(RankGroupTest, RanksAreCountedOverHostsAndDevicesOnEach) {
  options_.hosts = 2;
  options_.host_index = 1;
  options_.metrics_from = "0.0.0.0:8080";
  const RankCommand command = CommandOfRank(options_, 2).value();
  EXPECT_THAT(command.argv, ElementsAre(options_.learner, "--out", folder_, "--rank", "5", "--world", "6",
                                        "--metrics-listen", "0.0.0.0:8082"));
  EXPECT_THAT(command.environment, ElementsAre("CUDA_VISIBLE_DEVICES=2"));
  setenv("CUDA_VISIBLE_DEVICES", "4,6,7", 1);
  EXPECT_THAT(CommandOfRank(options_, 1)->environment, ElementsAre("CUDA_VISIBLE_DEVICES=6"));
  options_.metrics_from = "[::]:8080";
  EXPECT_THAT(CommandOfRank(options_, 1).value().argv, ::testing::Contains("[::]:8081"));
  options_.metrics_from = "127.0.0.1:0";
  EXPECT_EQ(CommandOfRank(options_, 1)->argv.back(), "127.0.0.1:0") << "any free port";
  options_.metrics_from = "";
  EXPECT_EQ(CommandOfRank(options_, 1)->argv.back(), "6");
}

TEST_F(RankGroupTest, AMistakeNamesTheFlag) {
  options_.host_index = 1;
  EXPECT_EQ(RunRankGroup(options_).message(), "--host-index is 1: expected less than --hosts 1.");
  options_.host_index = 0;
  for (const char* bad : {"8080", "host:", "host:x", "host:65534", "host:-1"}) {
    options_.metrics_from = bad;
    const absl::Status status = RunRankGroup(options_);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << bad;
    EXPECT_THAT(std::string(status.message()), HasSubstr(std::string("--metrics-from is ") + bad + ": expected"));
  }
  EXPECT_FALSE(Exists("0"));
}

TEST_F(RankGroupTest, EndsWhenAllHaveEndedAndSaysHow) {
  Script("sleep 0.$rank; touch $out/$rank");
  EXPECT_EQ(RunRankGroup(options_), absl::OkStatus());
  EXPECT_TRUE(Exists("0") && Exists("1") && Exists("2"));
  Script("exit 3");
  EXPECT_EQ(RunRankGroup(options_).code(), absl::StatusCode::kCancelled);
}

TEST_F(RankGroupTest, TheFirstFailureEndsAllRanks) {
  Script(
      "echo $$ > $out/pid-$rank; [ $rank = 1 ] || exec sleep 100; while [ ! -s $out/pid-0 ]; do sleep 0.01; done; exit "
      "2");
  absl::Status status = RunRankGroup(options_);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("learner rank 1 ended with exit code 2"));
  pid_t survivor = 0;
  ASSERT_TRUE(std::ifstream(folder_ + "/pid-0") >> survivor);
  EXPECT_EQ(kill(survivor, 0), -1) << "rank 0 still runs";
  Script("[ $rank = 1 ] || exec sleep 100; kill -9 $$");
  status = RunRankGroup(options_);
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr("learner rank 1 was ended by signal 9"));
}

TEST_F(RankGroupTest, AStopSignalGoesToAllRanks) {
  Script("trap 'touch $out/stopped-$rank; exit 3' TERM; touch $out/up-$rank; while :; do sleep 0.02; done");
  std::thread stopper([this] {
    for (int i = 0; i < 1000 && !(Exists("up-0") && Exists("up-1") && Exists("up-2")); ++i) {
      absl::SleepFor(absl::Milliseconds(20));
    }
    kill(getpid(), SIGTERM);
  });
  EXPECT_EQ(RunRankGroup(options_).code(), absl::StatusCode::kCancelled);
  stopper.join();
  EXPECT_TRUE(Exists("stopped-0") && Exists("stopped-1") && Exists("stopped-2"));
}

}  // namespace
}  // namespace tactus
