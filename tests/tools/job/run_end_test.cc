#include "tools/job/run_end.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace tactus {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class RunEndTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::remove_all(folder_.root);
    std::filesystem::create_directories(folder_.checkpoints() + "/step-000003");
    Write(folder_.config(), "model{path:'m'} task{name:'countdown'} service{plaintext:true} learner{steps:3}");
  }
  static void Write(const std::string& path, const std::string& text) { std::ofstream(path, std::ios::app) << text; }
  void Steps(int from, int to) {
    for (int i = from; i <= to; ++i) {
      Write(folder_.metrics(), "{\"step\":" + std::to_string(i) + ",\"version\":\"0.1\",\"time_s\":" +
                                   std::to_string(60 * i) + ",\"reward_mean\":0." + std::to_string(i) + "}\n");
    }
  }
  const RunFolder folder_{::testing::TempDir() + "/run_end_test"};
};

TEST_F(RunEndTest, TellsHowAFinishedRunEnded) {
  Steps(1, 3);
  Write(folder_.held_out(), "{\"step\":3,\"pass1\":0.5,\"low\":0.25,\"high\":0.75}\n");
  Write(folder_.report(), "page");
  EXPECT_TRUE(IsFinished(folder_));
  const std::string text = RunEnd(folder_).value();
  EXPECT_THAT(text, HasSubstr(folder_.root + ": no process runs; finished after 3 of 3 steps in 3 min"));
  EXPECT_THAT(text, HasSubstr("reward       0.100 -> 0.300"));
  EXPECT_THAT(text, HasSubstr("pass@1 0.500 [0.250, 0.750] after step 3"));
  EXPECT_THAT(text, HasSubstr("checkpoint   " + folder_.checkpoints() + "/step-000003"));
  EXPECT_THAT(text, HasSubstr("report       " + folder_.report()));
  EXPECT_THAT(text, Not(HasSubstr("--resume")));
}

TEST_F(RunEndTest, NamesTheBestCheckpointAndTheFirstAndLastScore) {
  Steps(1, 3);
  for (const char* rate : {"0,\"pass1\":0.125", "2,\"pass1\":0.75", "3,\"pass1\":0.5"}) {
    Write(folder_.held_out(), std::string("{\"step\":") + rate + ",\"low\":0.1,\"high\":0.9}\n");
  }
  std::filesystem::create_directories(folder_.best() + "/step-000002");
  const std::string text = RunEnd(folder_).value();
  EXPECT_THAT(text, HasSubstr("best         " + folder_.best() + "/step-000002, held-out pass@1 0.750\n"));
  EXPECT_THAT(text, HasSubstr("pass@1 0.125 [0.100, 0.900] after step 0"));
  EXPECT_THAT(text, HasSubstr("pass@1 0.500 [0.100, 0.900] after step 3"));
  EXPECT_THAT(text, Not(HasSubstr("after step 2")));
}

TEST_F(RunEndTest, TellsHowToGoOnWithOneThatEndedEarly) {
  Steps(1, 2);
  EXPECT_FALSE(IsFinished(folder_));
  const std::string text = RunEnd(folder_).value();
  EXPECT_THAT(text, HasSubstr("ended after 2 of 3 steps"));
  EXPECT_THAT(text, HasSubstr("go on with   tactus train --resume " + folder_.root));
}

TEST_F(RunEndTest, ARunWithoutAStepHasNoEnd) {
  EXPECT_EQ(RunEnd(folder_).status().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(IsFinished(folder_));
}

}  // namespace
}  // namespace tactus
