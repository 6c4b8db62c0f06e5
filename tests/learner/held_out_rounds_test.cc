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

constexpr EvaluationSampling kHow{.temperature = 0.5F, .top_p = 1, .top_k = 9};

struct HeldOutRoundsTest : testing::Test {
  void SetUp() override {
    std::filesystem::remove_all(folder.root);
    std::filesystem::create_directories(folder.root);
  }
  std::unique_ptr<HeldOutRounds> Rounds(int every_steps, size_t prompts = 3) const {
    const config::RunConfig config =
        config::LoadRunConfig(SourcePath("configs/quickstart.textproto"),
                              {absl::StrCat("model.path=", SourcePath("models/quickstart")), "learner.steps=10",
                               absl::StrCat("eval.every_steps=", every_steps)})
            .value();
    std::vector<HeldOutSet> sets;
    if (prompts > 0) {
      sets = {{.name = "", .prompts = std::make_shared<std::vector<Prompt>>(prompts), .samples = 2, .sampling = kHow},
              {.name = "hard", .prompts = std::make_shared<std::vector<Prompt>>(2), .samples = 1}};
    }
    return HeldOutRounds::Create(config, sets, folder).value();
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
  const auto append = [this](int64_t step, const std::string& set) {
    HeldOutRecord record{.step = step};
    record.set = set;
    ASSERT_TRUE(AppendHeldOut(folder.held_out(), record).ok());
  };
  append(4, "");
  const EvalRound rest = *Rounds(4)->Due({1, 4});
  ASSERT_EQ(rest.sets.size(), 1u) << "a kill came between the lines of two sets";
  EXPECT_EQ(rest.sets[0].name, "hard");
  append(4, "hard");
  EXPECT_EQ(DueOf(*Rounds(4), {4, 5, 6, 7, 8}), Steps{8});
  append(10, "");
  append(10, "hard");
  EXPECT_EQ(DueOf(*Rounds(4), all), (Steps{0, 8}));
}

TEST_F(HeldOutRoundsTest, SaysHowItIsSampledAndWhatCameOfIt) {
  const std::unique_ptr<HeldOutRounds> rounds = Rounds(4);
  const EvalRound round = *rounds->Due({1, 0});
  ASSERT_EQ(round.sets.size(), 2u);
  EXPECT_EQ(round.sets[0].samples, 2);
  EXPECT_EQ(round.sets[0].sampling, kHow);
  EXPECT_EQ(round.sets[1].name, "hard");
  EXPECT_EQ(rounds->most_samples(), 2);
  EXPECT_EQ(Rounds(4, /*prompts=*/0)->most_samples(), 0);
  EvalAnswers answers{.set = "", .answers = {}};
  for (const int correct : {2, 1, 0}) {
    TrajectoryGroup& group = answers.answers.emplace_back();
    group.completions.resize(2);
    for (int i = 0; i < correct; ++i) group.completions[static_cast<size_t>(i)].reward.correct = 1;
  }
  const HeldOutRecord record = rounds->RecordOf({1, 8}, answers);
  EXPECT_EQ(record.set, "");
  EXPECT_EQ(record.step, 8);
  EXPECT_EQ(record.version, "1.8");
  EXPECT_EQ(record.samples, 2);
  EXPECT_EQ(record.temperature, 0.5);
  EXPECT_DOUBLE_EQ(record.pass1, 0.5);
  EXPECT_DOUBLE_EQ(record.pass_k, 2.0 / 3);
  EXPECT_DOUBLE_EQ(record.low, EstimatePass(2, {2, 1, 0}, round.seed).pass1.low);
  EvalAnswers hard{.set = "hard", .answers = std::vector<TrajectoryGroup>(2)};
  for (TrajectoryGroup& group : hard.answers) group.completions.resize(1);
  hard.answers[1].completions[0].reward.correct = 1;
  const HeldOutRecord of_hard = rounds->RecordOf({1, 8}, hard);
  EXPECT_EQ(of_hard.set, "hard");
  EXPECT_EQ(of_hard.samples, 1);
  EXPECT_DOUBLE_EQ(of_hard.pass1, 0.5);
}

}  // namespace
}  // namespace tactus
