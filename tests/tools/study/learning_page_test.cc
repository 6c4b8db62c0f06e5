// What a study writes about its runs.
#include "tools/study/learning_page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

namespace tactus {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

LearningRun RunOf(size_t variant, uint64_t seed, double end) {
  return {.variant = variant,
          .seed = seed,
          .samples_per_step = 8,
          .reward = {0, end / 2, end},
          .time_s = {1.5, 30, 61},
          .held_out = {{.step = 3, .pass1 = end, .low = 0, .high = 1}}};
}

const LearningOptions kOptions = {.variants = {"base", "<b>"}, .reward_steps = 1, .target_reward = 0.45};

LearningStudyText Text() {
  return {.title = "a & b",
          .plan = "config: \"<script>\"",
          .planned_runs = 6,
          .smallest_effect = 0.02,
          .reward_steps = 1,
          .overrides = {"none", "credit.strategy=UNIFORM"}};
}

LearningSummary Summary() {
  return SummarizeLearning({RunOf(0, 1, 0.4), RunOf(1, 1, 0.5), RunOf(0, 2, 0.5), RunOf(1, 2, 0.62)}, kOptions);
}

TEST(LearningLineTest, HasAllThatTheFiguresAreMadeFrom) {
  LearningRun run = RunOf(1, 7, 0.5);
  run.reward[1] = std::nan("");
  const nlohmann::json line = nlohmann::json::parse(LineOf(run, "b", {"credit.q=0.3", "seed=7"}));
  EXPECT_EQ(line["variant"], "b");
  EXPECT_EQ(line["seed"], 7);
  EXPECT_EQ(line["set"].dump(), "[\"credit.q=0.3\",\"seed=7\"]");
  EXPECT_EQ(line["samples_per_step"], 8);
  EXPECT_EQ(line["reward"].dump(), "[0.0,null,0.5]");
  EXPECT_EQ(line["time_s"].dump(), "[1.5,30.0,61.0]");
  EXPECT_EQ(line["held_out"][0]["step"], 3);
  EXPECT_EQ(line["held_out"][0]["pass1"], 0.5);
}

TEST(LearningJsonTest, HasTheFigures) {
  const nlohmann::json json = nlohmann::json::parse(LearningJson(Text(), Summary()));
  EXPECT_EQ(json["runs"], 4);
  EXPECT_EQ(json["planned_runs"], 6);
  EXPECT_EQ(json["variants"][0]["last_reward"]["value"], 0.45);
  EXPECT_EQ(json["variants"][0]["reached"], 1);
  EXPECT_TRUE(json["variants"][0]["median_step"].is_null());
  EXPECT_EQ(json["variants"][1]["median_step"], 3);
  const nlohmann::json& difference = json["differences"][0]["held_out_pass1"];
  EXPECT_NEAR(difference["value"].get<double>(), 0.11, 1e-12);
  EXPECT_NEAR(difference["p_value"].get<double>(), 0.057715876752608926, 1e-9);
  EXPECT_NEAR(difference["power"].get<double>(), 0.12575631775705298, 1e-7);
  EXPECT_EQ(difference["seeds_for_power_0.8"], 7) << "for 0.02 where pairs scatter by 0.014";
}

TEST(LearningTableTest, SaysWhatIsNotKnown) {
  const std::string table = LearningTable(Text(), Summary());
  EXPECT_THAT(table, HasSubstr("4 of 6 runs; time to a reward of 0.45\n"));
  EXPECT_THAT(table, HasSubstr("not reached"));
  EXPECT_THAT(table, HasSubstr("1 min 01 s"));
  EXPECT_THAT(table, HasSubstr("+0.110 ± 0.127"));
  const std::string none = LearningTable(Text(), SummarizeLearning({}, kOptions));
  EXPECT_THAT(none, HasSubstr("0 of 6 runs"));
  EXPECT_THAT(none, Not(HasSubstr("nan")));
  const std::string one = LearningTable(Text(), SummarizeLearning({RunOf(0, 1, 0.4)}, kOptions));
  EXPECT_THAT(one, HasSubstr("  0.400 "));
  EXPECT_THAT(one, Not(HasSubstr("nan")));
}

TEST(LearningPageTest, ShowsCurvesTablesAndThePlan) {
  const std::string page = LearningPageHtml(Text(), Summary());
  EXPECT_THAT(page, HasSubstr("<h1>a &amp; b</h1>"));
  EXPECT_THAT(page, HasSubstr("4 of 6 runs have finished"));
  EXPECT_THAT(page, HasSubstr("<figcaption><b>&lt;b&gt; beside base</b>"));
  EXPECT_THAT(page, HasSubstr("\"axis\":\"completion\""));
  EXPECT_THAT(page, HasSubstr("\"x\":[8,16,24]"));
  EXPECT_THAT(page, HasSubstr("\"y\":[0,0.225,0.45],\"low\":["));
  EXPECT_THAT(page, HasSubstr("<td>credit.strategy=UNIFORM</td>"));
  EXPECT_THAT(page, HasSubstr("<td>+0.110&nbsp;±&nbsp;0.127</td>"));
  EXPECT_THAT(page, HasSubstr("config: &quot;&lt;script&gt;&quot;"));
  EXPECT_THAT(page, Not(HasSubstr("nan")));
  EXPECT_THAT(LearningPageHtml(Text(), SummarizeLearning({}, kOptions)), Not(HasSubstr(">nan<")));
  LearningStudyText alone = Text();
  alone.overrides.resize(1);
  const std::string single =
      LearningPageHtml(alone, SummarizeLearning({RunOf(0, 1, 0.4)}, {.variants = {"base"}, .reward_steps = 1}));
  EXPECT_THAT(single, HasSubstr("<figcaption><b>Reward</b>"));
  EXPECT_THAT(single, Not(HasSubstr("paired by seed")));
}

}  // namespace
}  // namespace tactus
