#include "learner/held_out_rounds.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "common/config/run_config.h"
#include "common/metrics/eval_stats.h"
#include "proto/config.pb.h"
#include "tests/tree.h"

namespace tactus {
namespace {

struct HeldOutRoundsTest : testing::Test {
  void SetUp() override {
    std::filesystem::remove_all(folder.root);
    std::filesystem::create_directories(folder.root);
  }
  std::unique_ptr<HeldOutRounds> Rounds(int every_steps, size_t prompts = 3) const {
    const config::RunConfig config =
        config::LoadRunConfig(SourcePath("configs/quickstart.textproto"),
                              {absl::StrCat("model.path=", SourcePath("models/quickstart")), "learner.steps=10",
                               "eval.samples_per_prompt=2", "eval.temperature=0.5", "rollout.top_k=9",
                               absl::StrCat("eval.every_steps=", every_steps)})
            .value();
    auto held_out = std::make_shared<std::vector<Prompt>>(prompts);
    return HeldOutRounds::Create(config, held_out, folder).value();
  }
  static std::vector<uint64_t> DueOf(HeldOutRounds& rounds, const std::vector<uint64_t>& steps) {
    std::vector<uint64_t> due;
    for (const uint64_t step : steps) {
      if (const auto round = rounds.Due({1, step}); round.has_value()) {
        EXPECT_EQ(round->version, (PolicyVersion{1, step}));
        due.push_back(step);
      }
    }
    return due;
  }
  using Steps = std::vector<uint64_t>;
  const Steps all = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
  const RunFolder folder{testing::TempDir() + "/held_out_rounds_test"};
};

TEST_F(HeldOutRoundsTest, BothEndsAndEveryFewSteps) {
  EXPECT_EQ(DueOf(*Rounds(0), all), (Steps{0, 10}));
  EXPECT_EQ(DueOf(*Rounds(4), all), (Steps{0, 4, 8, 10}));
  EXPECT_EQ(DueOf(*Rounds(4, /*prompts=*/0), all), Steps{}) << "the launcher does it, or nobody";
}

TEST_F(HeldOutRoundsTest, AVersionThatNobodyGetsIsMadeUpForByTheNext) {
  EXPECT_EQ(DueOf(*Rounds(4), {0, 1, 3, 5, 6, 7, 10}), (Steps{0, 5, 10}));
  EXPECT_EQ(DueOf(*Rounds(4), {5, 6, 9}), Steps{9}) << "what was due before a resume is not";
}

TEST_F(HeldOutRoundsTest, WhatHasItsLineIsNotMeasuredAgain) {
  ASSERT_TRUE(AppendHeldOut(folder.held_out(), {.step = 4}).ok());
  EXPECT_EQ(DueOf(*Rounds(4), {4, 5, 6, 7, 8}), Steps{8});
  ASSERT_TRUE(AppendHeldOut(folder.held_out(), {.step = 10}).ok());
  EXPECT_EQ(DueOf(*Rounds(4), all), (Steps{0, 8}));
}

TEST_F(HeldOutRoundsTest, SaysHowItIsSampledAndWhatCameOfIt) {
  const std::unique_ptr<HeldOutRounds> rounds = Rounds(4);
  const EvalRound round = *rounds->Due({1, 0});
  EXPECT_EQ(round.samples, 2);
  EXPECT_EQ(round.sampling.temperature, 0.5F);
  EXPECT_EQ(round.sampling.top_k, 9);
  EvalResult result{.version = {1, 8}};
  for (const int correct : {2, 1, 0}) {
    TrajectoryGroup& group = result.answers.emplace_back();
    group.completions.resize(2);
    for (int i = 0; i < correct; ++i) group.completions[static_cast<size_t>(i)].reward.correct = 1;
  }
  const HeldOutRecord record = rounds->RecordOf(result);
  EXPECT_EQ(record.step, 8);
  EXPECT_EQ(record.version, "1.8");
  EXPECT_EQ(record.samples, 2);
  EXPECT_EQ(record.temperature, 0.5);
  EXPECT_DOUBLE_EQ(record.pass1, 0.5);
  EXPECT_DOUBLE_EQ(record.pass_k, 2.0 / 3);
  EXPECT_DOUBLE_EQ(record.low, EstimatePass(2, {2, 1, 0}, round.seed).pass1.low);
}

}  // namespace
}  // namespace tactus
