// Lines of timeline.jsonl: there and back, and what is read of a file.
#include "common/metrics/timeline.h"

#include <fstream>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tactus {
namespace {

using ::testing::HasSubstr;

StepTimeline Timeline(int64_t step, const std::string& version) {
  return {.step = step,
          .version = version,
          .start_s = 10.5,
          .length_s = 2,
          .learner = {{LearnerWork::kCheckpoint, {0, 0.25}},
                      {LearnerWork::kWait, {0.25, 1}},
                      {LearnerWork::kPasses, {1, 1.75}},
                      {LearnerWork::kPublish, {1.75, 2}}},
          .actors = {{.actor = "actor-0", .sampling = {{-0.5, 0.5}, {0.75, 0.875}}, .arrived_s = {0.5, 0.875}},
                     {.actor = "<b>", .sampling = {}, .arrived_s = {}}}};
}

TEST(TimelineTest, ALineComesBack) {
  const StepTimeline timeline = Timeline(12, "1.12");
  EXPECT_EQ(StepTimelineFromJson(StepTimelineToJson(timeline)).value(), timeline);
}

// What other programs may read.
TEST(TimelineTest, TheFormOfALine) {
  StepTimeline timeline = Timeline(12, "1.12");
  timeline.learner.resize(1);
  timeline.learner[0].when.end_s = 0.12345678;
  timeline.actors.resize(1);
  EXPECT_EQ(StepTimelineToJson(timeline),
            R"({"step":12,"version":"1.12","start_s":10.5,"length_s":2.0,"learner":[{"work":"checkpoint","from":0.0,)"
            R"("to":0.1235}],"actors":[{"actor":"actor-0","sampling":[-0.5,0.5,0.75,0.875],"arrived":[0.5,0.875]}]})");
}

TEST(TimelineTest, ALaterVersionsWorkIsPassedOver) {
  const StepTimeline read =
      StepTimelineFromJson(R"({"step":1,"version":"0.1","start_s":0,"length_s":1,"more":[],"learner":[{"work":)"
                           R"("dancing","from":0,"to":1},{"work":"passes","from":0,"to":1}],"actors":[]})")
          .value();
  ASSERT_EQ(read.learner.size(), 1u);
  EXPECT_EQ(read.learner[0].work, LearnerWork::kPasses);
}

TEST(TimelineTest, WhatIsNoLineIsRefusedByName) {
  const auto refusal = [](const std::string& text) {
    return std::string(StepTimelineFromJson(text).status().message());
  };
  EXPECT_THAT(refusal("[]"), HasSubstr("timeline line"));
  EXPECT_THAT(refusal("{}"), HasSubstr("step"));
  EXPECT_THAT(refusal(R"({"step":1,"version":"0.1","start_s":"x"})"), HasSubstr("start_s"));
  EXPECT_THAT(refusal(R"({"step":1,"version":"0.1","start_s":0,"length_s":1,"learner":[{"work":"passes"}]})"),
              HasSubstr("learner[0].from"));
  EXPECT_THAT(
      refusal(
          R"({"step":1,"version":"0.1","start_s":0,"length_s":1,"learner":[],"actors":[{"actor":"a","sampling":3}]})"),
      HasSubstr("actors[0].sampling"));
}

TEST(TimelineTest, TheLastStepsOfTheNewestProcessAreRead) {
  const std::string path = absl::StrCat(::testing::TempDir(), "/timeline_test.jsonl");
  EXPECT_TRUE(ReadTimeline("/nowhere/timeline.jsonl", 3).value().empty());
  {
    std::ofstream file(path);
    for (int step = 1; step <= 4; ++step) {
      file << StepTimelineToJson(Timeline(step, absl::StrCat("0.", step))) << "\n";
    }
    file << "{\"step\":\n";
    for (int step = 5; step <= 9; ++step) {
      file << StepTimelineToJson(Timeline(step, absl::StrCat("1.", step))) << "\n";
    }
  }
  ::testing::internal::CaptureStderr();
  const auto steps_of = [&](size_t count) {
    std::vector<int64_t> steps;
    const std::vector<StepTimeline> read = ReadTimeline(path, count).value();
    for (const StepTimeline& one : read) steps.push_back(one.step);
    return steps;
  };
  EXPECT_THAT(steps_of(3), ::testing::ElementsAre(7, 8, 9));
  EXPECT_THAT(steps_of(7), ::testing::ElementsAre(5, 6, 7, 8, 9)) << "the one before had another clock";
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), HasSubstr("line 5"));
}

}  // namespace
}  // namespace tactus
