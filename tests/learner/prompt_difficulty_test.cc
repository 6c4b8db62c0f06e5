#include "learner/prompt_difficulty.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace tactus {
namespace {

using ::testing::HasSubstr;

// The rule as the configuration's documentation states it, in doubles.
struct Rule {
  double floor = 0;
  double p = -1;  // never asked
  void Learn(int right, int answers) {
    const double newest = static_cast<double>(right) / answers;
    p = p < 0 ? newest : (p + newest) / 2;
  }
  double Probability() const { return p < 0 ? 1 : std::max(floor, 4 * p * (1 - p)); }
};

// Of 200,000 turns of prompt 0, how large a share it is asked in.
double AskedShare(const PromptDifficulty& difficulty) {
  constexpr int kTurns = 200000;
  int asked = 0;
  for (uint64_t place = 0; place < kTurns; ++place) asked += difficulty.Asks(place, 0) ? 1 : 0;
  return static_cast<double>(asked) / kTurns;
}

TEST(PromptDifficultyTest, APromptIsAskedAsOftenAsTheRuleSays) {
  std::mt19937 random(3);
  for (const double floor : {0.01, 0.1, 0.5}) {
    for (int history = 0; history < 12; ++history) {
      PromptDifficulty difficulty(/*seed=*/17, /*prompts=*/2, floor);
      Rule rule{.floor = floor};
      for (int group = 0; group < history; ++group) {
        const int right = history < 3 ? 0 : history < 6 ? 8 : static_cast<int>(random() % 9);
        difficulty.Learn(0, right, 8);
        rule.Learn(right, 8);
      }
      const double expected = rule.Probability();  // its share of 200,000 draws deviates by at most 0.0011
      EXPECT_NEAR(AskedShare(difficulty), expected, 0.005) << "floor " << floor << ", " << history << " groups";
      EXPECT_TRUE(difficulty.Asks(history, 1)) << "nothing is known of it";
    }
  }
}

TEST(PromptDifficultyTest, ADrawIsOfItsSeedAndPlace) {
  const auto asked = [](uint64_t seed) {
    PromptDifficulty difficulty(seed, 3, 0.3);
    for (size_t prompt = 0; prompt < 3; ++prompt) difficulty.Learn(prompt, 0, 4);
    std::vector<bool> asks;
    for (uint64_t place = 0; place < 64; ++place) asks.push_back(difficulty.Asks(place, place % 3));
    return asks;
  };
  EXPECT_EQ(asked(1), asked(1));
  EXPECT_NE(asked(1), asked(2));
}

TEST(PromptDifficultyTest, SharesAreOfThePromptsThatWereAsked) {
  PromptDifficulty difficulty(1, 100, 0.1);
  EXPECT_EQ(difficulty.never_share(), 0);
  difficulty.Learn(0, 0, 4096);
  difficulty.Learn(1, 4096, 4096);
  difficulty.Learn(2, 1, 4096);
  difficulty.Learn(3, 4095, 4096);
  difficulty.Learn(4, 1, 2);
  EXPECT_DOUBLE_EQ(difficulty.never_share(), 1.0 / 5);
  EXPECT_DOUBLE_EQ(difficulty.always_share(), 1.0 / 5);
  for (int group = 0; group < 20; ++group) {  // 2^-20 is less than a rate can tell from 0 and 1
    difficulty.Learn(2, 0, 8);
    difficulty.Learn(3, 8, 8);
  }
  EXPECT_DOUBLE_EQ(difficulty.never_share(), 2.0 / 5);
  EXPECT_DOUBLE_EQ(difficulty.always_share(), 2.0 / 5);
  difficulty.Learn(2, 8, 8);
  EXPECT_DOUBLE_EQ(difficulty.never_share(), 1.0 / 5);
}

TEST(PromptDifficultyTest, ACheckpointKeepsTwoBytesAPrompt) {
  std::mt19937 random(5);
  constexpr size_t kPrompts = 1000000;
  PromptDifficulty difficulty(1, kPrompts, 0.1);
  for (int group = 0; group < 5000; ++group) difficulty.Learn(random() % kPrompts, static_cast<int>(random() % 3), 2);
  const std::string saved = difficulty.Save();
  EXPECT_EQ(saved.size(), 2 * kPrompts);
  PromptDifficulty restored(1, kPrompts, 0.1);
  ASSERT_TRUE(restored.Restore(saved).ok());
  EXPECT_EQ(restored.Save(), saved);
  EXPECT_EQ(restored.never_share(), difficulty.never_share());
  EXPECT_EQ(restored.always_share(), difficulty.always_share());
  EXPECT_GT(restored.always_share(), 0.3);
  ASSERT_TRUE(restored.Restore("").ok()) << "a checkpoint of a build that did not know of it";
  EXPECT_EQ(restored.Save(), std::string(2 * kPrompts, '\0'));
  EXPECT_EQ(restored.always_share(), 0);
}

TEST(PromptDifficultyTest, RefusesStateOfOtherData) {
  PromptDifficulty difficulty(1, 3, 0.1);
  difficulty.Learn(1, 1, 2);
  const std::string saved = difficulty.Save();
  const auto error = [&](const std::string& bytes) {
    const absl::Status status = difficulty.Restore(bytes);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(difficulty.Save(), saved);
    return std::string(status.message());
  };
  EXPECT_THAT(error("abcd"), HasSubstr("prompt_difficulty has 4 bytes; expected 6, 2 for each of 3 prompts"));
  EXPECT_THAT(error("abcdefg"), HasSubstr("has 7 bytes"));
  EXPECT_THAT(error(std::string("\1\0\2\x80\0\0", 6)), HasSubstr("has 32770 for prompt 1; expected at most 32769"));
}

TEST(PromptDifficultyTest, WithAFloorOfOneEveryPromptIsAskedAndNothingIsKept) {
  PromptDifficulty difficulty(1, 3, 1);
  difficulty.Learn(0, 0, 8);
  EXPECT_FALSE(difficulty.on());
  EXPECT_EQ(difficulty.Save(), "");
  EXPECT_TRUE(difficulty.Restore("").ok());
  EXPECT_THAT(std::string(difficulty.Restore("ab").message()), HasSubstr("expected 0"));
  for (uint64_t place = 0; place < 1000; ++place) ASSERT_TRUE(difficulty.Asks(place, 0));
}

}  // namespace
}  // namespace tactus
