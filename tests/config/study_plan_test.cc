// A study's plan: what is read, and what is refused with its place.
#include "common/config/study_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "proto/study.pb.h"
#include "tests/tree.h"

namespace tactus::config {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr char kPlan[] =
    "config: \"c.textproto\"\n"
    "set: \"learner.steps=3\"\n"
    "variant { name: \"UNIFORM\" set: \"credit.strategy=UNIFORM\" }\n"
    "variant { name: \"COUPLED\" }\n"
    "seed: [1, 2]\n";

std::string Refusal(const std::string& text) {
  const absl::StatusOr<StudyPlan> plan = ParseStudyPlan(text, "s.textproto");
  EXPECT_TRUE(absl::IsInvalidArgument(plan.status())) << plan.status() << "\n" << text;
  return std::string(plan.status().message());
}

TEST(StudyPlanTest, ReadsAPlanAndPrintsItAsItWas) {
  const absl::StatusOr<StudyPlan> plan = ParseStudyPlan(kPlan, "s.textproto");
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->variant(0).set(0), "credit.strategy=UNIFORM");
  EXPECT_EQ(plan->seed(1), 2u);
  EXPECT_EQ(plan->actors(), 2);
  EXPECT_EQ(plan->reward_steps(), 10);
  EXPECT_FALSE(plan->has_target_reward());
  const absl::StatusOr<StudyPlan> again = ParseStudyPlan(StudyPlanText(*plan), "again");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->SerializeAsString(), plan->SerializeAsString());
}

TEST(StudyPlanTest, RefusesWithThePlace) {
  EXPECT_EQ(Refusal("config: \"c\" variants {}"),
            "s.textproto:1:22: Message type \"tactus.config.StudyPlan\" has no field named \"variants\".");
  EXPECT_EQ(Refusal(absl::StrCat(kPlan, "actors: 0")),
            "s.textproto:6:1: actors is 0: expected a value from 1 to 1024.");
  EXPECT_EQ(Refusal("seed: 1 variant { name: \"a\" }"),
            "s.textproto: config is missing: expected the configuration file of the runs.");
  EXPECT_EQ(Refusal("config: \"c\" seed: 1"), "s.textproto: variant is missing: expected at least one.");
  EXPECT_EQ(Refusal("config: \"c\" variant { name: \"a\" }"), "s.textproto: seed is missing: expected at least one.");
  EXPECT_EQ(Refusal(absl::StrCat(kPlan, "variant { name: \"COUPLED\" }")),
            "s.textproto:6:11: variant[2].name is \"COUPLED\" again: expected another.");
  EXPECT_EQ(Refusal(absl::StrCat(kPlan, "variant {\n  name: \"../up\" }")),
            "s.textproto:7:3: variant[2].name is \"../up\": expected 1 to 63 letters, digits, '-', '_' or '.'.");
  EXPECT_THAT(Refusal(absl::StrCat(kPlan, "variant { set: \"a=1\" }")),
              HasSubstr("variant[2].name is missing: expected"));
  EXPECT_EQ(Refusal(absl::StrCat(kPlan, "seed: 1")), "s.textproto: seed[2] is 1 again: expected another.");
  EXPECT_THAT(Refusal(absl::StrCat(kPlan, "set: \"seed=4\"")),
              StartsWith("s.textproto:6:1: set[1] is \"seed=4\": expected seeds in the field seed"));
  EXPECT_THAT(Refusal(absl::StrCat(kPlan, "variant { name: \"x\" set: \"seed=4\" }")),
              StartsWith("s.textproto:6:21: variant[2].set[0] is \"seed=4\""));
  std::string many = kPlan;
  for (int seed = 10; seed < 5010; ++seed) absl::StrAppend(&many, "seed: ", seed, "\n");
  EXPECT_THAT(Refusal(many), HasSubstr("seed makes 10004 runs of all variants: expected at most 10000."));
}

TEST(StudyPlanTest, FilesAreNamed) {
  EXPECT_TRUE(absl::IsNotFound(LoadStudyPlan("/nowhere/s.textproto").status()));
  EXPECT_THAT(LoadStudyPlan("/nowhere/s.textproto").status().message(), HasSubstr("/nowhere/s.textproto"));
  const absl::StatusOr<StudyPlan> shipped = LoadStudyPlan(SourcePath("configs/studies/credit.textproto"));
  ASSERT_TRUE(shipped.ok()) << shipped.status();
  EXPECT_EQ(shipped->variant(0).name(), "UNIFORM");
}

}  // namespace
}  // namespace tactus::config
