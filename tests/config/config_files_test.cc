// Every file in configs/ loads, so an example never rots.
#include <filesystem>

#include "common/config/run_config.h"
#include "common/config/study_plan.h"
#include "gtest/gtest.h"
#include "proto/config.pb.h"
#include "proto/study.pb.h"
#include "tests/tree.h"

namespace tactus::config {
namespace {

TEST(ConfigFilesTest, EveryFileLoads) {
  int files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(SourcePath("configs"))) {
    if (entry.path().extension() != ".textproto") continue;
    ++files;
    if (entry.path().parent_path().filename() == "studies") {
      const absl::StatusOr<StudyPlan> plan = LoadStudyPlan(entry.path().string());
      EXPECT_TRUE(plan.ok()) << plan.status();
      continue;
    }
    const absl::StatusOr<RunConfig> config = LoadRunConfig(entry.path().string(), {});
    EXPECT_TRUE(config.ok()) << config.status();
  }
  EXPECT_GE(files, 18);
}

TEST(ConfigFilesTest, QwenFollowsThePapersBatch) {
  const RunConfig config = LoadRunConfig(SourcePath("configs/qwen3_4b_countdown.textproto"), {}).value();
  const RolloutOptions& rollout = config.rollout();
  EXPECT_EQ(rollout.prompts_per_step() * rollout.completions_per_prompt(), 512);
  EXPECT_EQ(rollout.max_prompt_tokens() + rollout.max_completion_tokens(), 1024);
  EXPECT_EQ(config.algorithm().updates_per_batch(), 16);
  EXPECT_EQ(config.credit().strategy(), CreditOptions::COUPLED);
  EXPECT_EQ(config.credit().horizon_max_tokens(), 100);
}

}  // namespace
}  // namespace tactus::config
