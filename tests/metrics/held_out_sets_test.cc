// Several held-out sets in one file.
#include <gtest/gtest.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "common/metrics/held_out.h"

namespace tactus {
namespace {

TEST(HeldOutSetsTest, OtherSetsAreKeptApart) {
  const std::string path = ::testing::TempDir() + "/held_out_sets_test.jsonl";
  std::filesystem::remove(path);
  HeldOutRecord first = {.step = 3, .pass1 = 0.5, .low = 0.4, .high = 0.6, .samples = 1, .version = "1.3"};
  HeldOutRecord hard = first;
  hard.set = "hard";
  hard.pass1 = 0.125;
  hard.samples = 4;
  hard.pass_k = 0.25;
  for (const HeldOutRecord& record : {hard, first}) ASSERT_TRUE(AppendHeldOut(path, record).ok());
  EXPECT_EQ(ReadHeldOut(path).value(), std::vector{first});
  const std::vector<HeldOutRecord> all = ReadHeldOutSets(path).value();
  EXPECT_EQ(all, (std::vector{hard, first}));
  StepRecord step;
  step.step = 3;
  JoinHeldOut({first, hard}, &step);
  EXPECT_EQ(step.eval_pass1, 0.5);
  const auto scores = [](const HeldOutRecord& record) {
    std::string text;
    for (const auto& [name, value] : ScoresOf(record)) absl::StrAppend(&text, name, "=", value, " ");
    return text;
  };
  EXPECT_EQ(scores(first), "pass_1=0.5 pass_1_low=0.4 pass_1_high=0.6 ");
  EXPECT_EQ(scores(hard), "pass_1=0.125 pass_1_low=0.4 pass_1_high=0.6 pass_k=0.25 pass_k_low=0 pass_k_high=0 ");
}

}  // namespace
}  // namespace tactus
