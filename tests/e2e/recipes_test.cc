// Each configuration of a published recipe trains: three steps of a small batch, with everything that it turns on.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "common/config/run_config.h"
#include "proto/config.pb.h"
#include "tests/e2e/job.h"
#include "tests/tree.h"

namespace tactus {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> Recipes() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(SourcePath("configs/recipes"))) names.push_back(entry.path().stem());
  std::sort(names.begin(), names.end());
  return names;
}

class RecipeTest : public ::testing::TestWithParam<std::string> {};

TEST_P(RecipeTest, TrainsThreeSteps) {
  const std::string file = "configs/recipes/" + GetParam() + ".textproto";
  const auto config = config::LoadRunConfig(SourcePath(file), {});
  ASSERT_TRUE(config.ok()) << config.status();
  Job job("recipe_" + GetParam(),
          {"--actors", "1", "--set", "learner.steps=3", "--set", "rollout.prompts_per_step=4", "--set",
           "rollout.max_completion_tokens=48", "--set", "eval.max_prompts=0", "--set", "checkpoint.every_steps=0"},
          /*fresh=*/true, file);
  ASSERT_EQ(job.Wait(), 0);
  const std::vector<StepRecord> steps = job.Steps();
  ASSERT_EQ(steps.size(), 3u);
  const config::AlgorithmOptions& algorithm = config->algorithm();
  double moved = 0;
  for (const StepRecord& step : steps) {
    EXPECT_TRUE(std::isfinite(step.loss)) << step.step;
    EXPECT_EQ(step.skipped_updates, 0);
    EXPECT_EQ(step.updates, algorithm.updates_per_batch());
    EXPECT_EQ(std::isfinite(step.kl_k3), algorithm.kl_beta() > 0);
    const bool shaped = algorithm.overlong_buffer_tokens() > 0 ||
                        (algorithm.kl_beta() > 0 && algorithm.kl_place() == config::AlgorithmOptions::IN_REWARD);
    EXPECT_EQ(std::isfinite(step.reward_shaping_mean), shaped);
    if (std::isfinite(step.grad_norm)) moved += step.grad_norm;
  }
  EXPECT_GT(moved, 0) << "nothing was learned";
  EXPECT_LE(steps.back().groups_replaced, 3 * config->rollout().max_replaced_groups());
}

INSTANTIATE_TEST_SUITE_P(Published, RecipeTest, ::testing::ValuesIn(Recipes()),
                         [](const auto& recipe) { return recipe.param; });

TEST(RecipesTest, AllPublishedOnesAreThere) {
  const std::vector<std::string> recipes = Recipes();
  for (const char* name : {"grpo", "dapo", "dr_grpo", "gspo", "cispo", "rloo", "reinforce_pp", "rhythm"}) {
    EXPECT_EQ(std::count(recipes.begin(), recipes.end(), name), 1) << name;
  }
}

}  // namespace
}  // namespace tactus
