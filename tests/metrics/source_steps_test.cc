// What a step's line says of each of task.sources.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "common/metrics/step_record.h"

namespace tactus {
namespace {

using ::testing::HasSubstr;

TEST(StepRecordTest, SourcesAreKeptByName) {
  StepRecord record;
  record.step = 3;
  EXPECT_EQ(StepRecordToJson(record).find("sources"), std::string::npos);
  record.sources = {{.name = "gsm8k", .groups = 12, .reward_mean = 0.25, .correct_rate = 0.125},
                    {.name = "puzzles", .groups = 4, .reward_mean = 1, .correct_rate = 1}};
  const std::string line = StepRecordToJson(record);
  EXPECT_THAT(line, HasSubstr(R"("sources":{"gsm8k":{"groups":12.0,"reward_mean":0.25,"correct_rate":0.125},)"));
  EXPECT_EQ(StepRecordFromJson(line)->sources, record.sources);
  EXPECT_TRUE(StepRecordFromJson(R"({"step":1,"sources":{}})")->sources.empty());
  for (const char* bad : {R"({"step":1,"sources":[1]})", R"({"step":1,"sources":{"a":1}})",
                          R"({"step":1,"sources":{"a":{"groups":"1"}}})"}) {
    EXPECT_FALSE(StepRecordFromJson(bad).ok()) << bad;
  }
  StepRecord most;
  most.step = 1;
  for (int i = 0; i < 64; ++i) {
    most.sources.push_back(
        {.name = absl::StrCat(i, std::string(60, 'x')), .reward_mean = 1 / 3.0, .correct_rate = 2 / 3.0});
  }
  EXPECT_TRUE(StepRecordFromJson(StepRecordToJson(most)).ok()) << "as many as a run may have";
}

}  // namespace
}  // namespace tactus
