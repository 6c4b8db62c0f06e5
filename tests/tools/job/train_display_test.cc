#include "tools/job/train_display.h"

#include <cmath>

#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tactus {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(SparklineTest, ScalesAveragesAndSkipsGaps) {
  EXPECT_EQ(Sparkline({0, 1, 2, 3, 4, 5, 6, 7}, 8), "▁▂▃▄▅▆▇█");
  EXPECT_EQ(Sparkline({1, 1}, 8), "▄▄");
  EXPECT_EQ(Sparkline({0, 0, 7, 7}, 2), "▁█");
  EXPECT_EQ(Sparkline({0, std::nan(""), 1}, 3), "▁ █");
  EXPECT_EQ(Sparkline({}, 3), "");
  EXPECT_EQ(Sparkline({1}, 0), "");
}

StepRecord Step(int64_t step, double reward) {
  StepRecord record;
  record.step = step;
  record.reward_mean = reward;
  record.correct_rate = record.completion_tokens_mean = record.zero_signal_share = record.phase_wait_s = 0;
  record.entropy_mean = record.grad_norm = record.clip_fraction = 0.5;
  record.staleness_mean = record.staleness_max = record.mismatch_mean = 0;
  record.step_time_s = 2;
  record.tokens_generated_per_s = 3210;
  record.tokens_trained_per_s = 4100;
  record.kl_k3 = 0.0123;
  record.mismatch_max = 1.5e-5;
  record.actors_connected = 2;
  return record;
}

std::string Written(const std::function<void(std::FILE*)>& write) {
  std::FILE* file = std::tmpfile();
  write(file);
  std::string text(static_cast<size_t>(std::ftell(file)), '\0');
  std::rewind(file);
  EXPECT_EQ(std::fread(text.data(), 1, text.size(), file), text.size());
  std::fclose(file);
  return text;
}

TEST(TrainDisplayTest, PlainIsOneLinePerStepWithoutEscapes) {
  const std::string text = Written([](std::FILE* file) {
    TrainDisplay display({.title = "run", .total_steps = 10, .terminal = false, .out = file});
    display.AddStep(Step(1, 0.25));
    display.Redraw();
    display.AddStep(Step(2, 0.35));
    display.Finish();
  });
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2) << text;
  EXPECT_EQ(text.find('\033'), std::string::npos);
  EXPECT_THAT(text, HasSubstr("step 2/10  reward 0.350"));
  EXPECT_THAT(text, HasSubstr("generated 3210 tok/s  trained 4100 tok/s  KL 0.0123  mismatch mean 0 max 1.5e-05"));
  EXPECT_THAT(text, HasSubstr("left 16 s"));
}

TEST(TrainDisplayTest, WhatIsNotMeasuredIsNoNumber) {
  TrainDisplay display({.title = "run", .total_steps = 10, .terminal = true});
  StepRecord step = Step(1, 0.25);
  step.kl_k3 = step.mismatch_mean = step.mismatch_max = kAbsent;
  display.AddHistory(step);
  EXPECT_THAT(display.PlainLine(), AllOf(HasSubstr("reward 0.250  correct"), Not(HasSubstr("KL")),
                                         Not(HasSubstr("mismatch")), Not(HasSubstr("nan"))));
  const std::string block = absl::StrJoin(display.Block(), "\n");
  EXPECT_THAT(block, HasSubstr("KL —   entropy 0.5000"));
  EXPECT_THAT(block, HasSubstr("|Δ log p| mean — max —"));
  EXPECT_THAT(block, HasSubstr("no kl_k3: no reference policy is kept"));
  EXPECT_THAT(block, HasSubstr("no mismatch_mean: no token was compared"));
  EXPECT_THAT(block, Not(HasSubstr("since the start"))) << "there is nothing to compare with";
  EXPECT_THAT(block, Not(HasSubstr("nan")));
}

TEST(TrainDisplayTest, ShortRunsCompareTheirHalves) {
  TrainDisplay display({.title = "run", .total_steps = 8, .terminal = true});
  for (int i = 1; i <= 8; ++i) display.AddHistory(Step(i, i <= 4 ? 0.25 : 0.5));
  EXPECT_THAT(display.PlainLine(), HasSubstr("reward 0.500 (+0.250)"));
}

TEST(TrainDisplayTest, ATerminalIsDrawnOverInPlace) {
  const std::string text = Written([](std::FILE* file) {
    TrainDisplay display({.title = "run", .total_steps = 10, .terminal = true, .out = file});
    display.Redraw();
    display.AddStep(Step(1, 0.25));
    display.Redraw();
    display.Note("an actor died");
    display.Finish();
  });
  EXPECT_THAT(text, HasSubstr("waiting for the first step"));
  EXPECT_THAT(text, HasSubstr("\033[1A\r")) << "the first block has one line";
  EXPECT_THAT(text, HasSubstr("\033[7A\r\033[Jan actor died\n")) << "a note clears the block and stands above it";
}

TEST(TrainDisplayTest, TrendComparesTheFirstAndLastTen) {
  TrainDisplay display({.title = "run", .total_steps = 40, .terminal = true});
  for (int i = 1; i <= 30; ++i) display.AddHistory(Step(i, i <= 10 ? 0.1 : 0.6));
  EXPECT_NEAR(display.RewardGain(), 0.5, 1e-12);
  EXPECT_NEAR(display.SecondsLeft(), 20, 1e-12);
  bool found = false;
  for (const std::string& line : display.Block()) found |= line.find("+0.500 since the start") != std::string::npos;
  EXPECT_TRUE(found);
}

}  // namespace
}  // namespace tactus
