// task.sources: what a source takes from the task, and each rule.
#include "common/config/task_sources.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "common/config/run_config.h"
#include "google/protobuf/descriptor.h"
#include "proto/config.pb.h"

namespace tactus::config {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Text(const std::string& task, const std::string& more = "") {
  return absl::StrCat("model { path: 'm' }\nservice { plaintext: true }\n", more, "\ntask {\n", task, "\n}\n");
}

RunConfig Parse(const std::string& task, const std::string& more = "") {
  absl::StatusOr<RunConfig> config = ParseRunConfig(Text(task, more), "run.textproto", {});
  EXPECT_TRUE(config.ok()) << config.status();
  return config.ok() ? *std::move(config) : RunConfig();
}

std::string ErrorOf(const std::string& task, const std::string& more = "") {
  const absl::StatusOr<RunConfig> config = ParseRunConfig(Text(task, more), "run.textproto", {});
  EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument) << config.status();
  return std::string(config.status().message());
}

constexpr char kTwo[] = R"(name: "countdown" train_size: 70 max_numbers: 5 format_reward: 0.25 prompt_style: "compact"
sources { name: "puzzles" weight: 3 train_size: 9 }
sources { name: "sums" task: "arithmetic" format_reward: 0 rewards: ENVIRONMENT }
sources { name: "gsm8k" task: "qa" train_path: "a.jsonl" test_path: "b.jsonl" answer_field: "x.y" })";
constexpr char kServer[] = "environment { address: 'rewards:9000' }";

TEST(TaskSourcesTest, ASourceTakesFromTheTaskWhatItDoesNotGive) {
  const TaskOptions task = Parse(kTwo, kServer).task();
  EXPECT_THAT(SourceNames(task), ElementsAre("puzzles", "sums", "gsm8k"));
  EXPECT_THAT(SourceWeights(task), ElementsAre(3, 1, 1));
  EXPECT_EQ(SourceIndex(task, "gsm8k"), 2u);
  EXPECT_EQ(SourceIndex(task, "other"), std::nullopt);
  const std::vector<TaskOptions> sources = SourcesOf(task);
  ASSERT_EQ(sources.size(), 3u);
  for (const TaskOptions& source : sources) {
    EXPECT_TRUE(source.sources().empty());
    EXPECT_EQ(source.max_numbers(), 5);
    EXPECT_EQ(source.prompt_style(), "compact");
  }
  EXPECT_EQ(sources[0].name(), "countdown");
  EXPECT_EQ(sources[0].train_size(), 9);
  EXPECT_EQ(sources[0].format_reward(), 0.25);
  EXPECT_FALSE(EnvironmentJudges(sources[0]));
  EXPECT_EQ(sources[1].name(), "arithmetic");
  EXPECT_EQ(sources[1].train_size(), 70);
  EXPECT_EQ(sources[1].format_reward(), 0);
  EXPECT_TRUE(EnvironmentJudges(sources[1]));
  EXPECT_EQ(sources[2].train_path(), "a.jsonl");
  EXPECT_EQ(sources[2].test_path(), "b.jsonl");
  EXPECT_EQ(sources[2].answer_field(), "x.y");
  EXPECT_EQ(sources[2].question_field(), "question");
  EXPECT_TRUE(EnvironmentJudges(task)) << "of one source";
}

TEST(TaskSourcesTest, ATaskWithoutSourcesIsItsOnlyOne) {
  const TaskOptions task = Parse("name: 'countdown'").task();
  EXPECT_THAT(SourceNames(task), ElementsAre(""));
  EXPECT_THAT(SourceWeights(task), ElementsAre(1));
  ASSERT_EQ(SourcesOf(task).size(), 1u);
  EXPECT_EQ(SourcesOf(task)[0].SerializeAsString(), task.SerializeAsString());
  EXPECT_FALSE(EnvironmentJudges(task));
}

// Whoever gives a source another field gives it the task's name and type, or this aborts.
TEST(TaskSourcesTest, EveryFieldOfASourceIsOneOfTheTasks) {
  const auto* type = TaskSource::descriptor();
  for (int i = 0; i < type->field_count(); ++i) {
    const std::string name = type->field(i)->name();
    if (name == "name" || name == "weight") continue;
    const auto* of_task = TaskOptions::descriptor()->FindFieldByName(name == "task" ? "name" : name);
    ASSERT_NE(of_task, nullptr) << name;
    EXPECT_EQ(of_task->cpp_type(), type->field(i)->cpp_type()) << name;
  }
  TaskOptions task;
  TaskSource& source = *task.add_sources();
  ResolveSources(&task);
  EXPECT_EQ(source.numbers_field(), "nums");
  EXPECT_FALSE(source.has_train_path()) << "files are a source's own";
}

TEST(TaskSourcesTest, TheResolvedTextSaysAllOfThem) {
  const RunConfig config = Parse(kTwo, kServer);
  const std::string text = ResolvedText(config);
  EXPECT_THAT(text, HasSubstr("  sources {\n    name: \"sums\"\n    weight: 1\n    task: \"arithmetic\"\n"
                              "    train_path: \"\"\n    test_path: \"\"\n    train_size: 70\n"));
  EXPECT_THAT(text, HasSubstr("    rewards: ENVIRONMENT\n    question_field: \"question\"\n"));
  const RunConfig again = ParseRunConfig(text, "resolved", {}).value();
  EXPECT_EQ(ResolvedText(again), text);
  EXPECT_EQ(Fingerprint(again), Fingerprint(config));
}

TEST(TaskSourcesTest, TheFingerprintIsOfTheSources) {
  const auto of = [](const std::string& sources) {
    return Fingerprint(Parse(absl::StrCat("name: 'countdown' ", sources)));
  };
  const std::string one = "sources { name: 'a' } ", two = one + "sources { name: 'b' } ";
  EXPECT_NE(of(one), of(""));
  EXPECT_NE(of(two), of(one));
  EXPECT_NE(of(one + "sources { name: 'b' weight: 2 }"), of(two));
  EXPECT_NE(of(one + "sources { name: 'b' train_size: 2 }"), of(two));
  EXPECT_EQ(of(one + "sources { name: 'b' train_size: 20000 }"), of(two)) << "what it takes from the task";
}

TEST(TaskSourcesTest, EachRuleHasItsSentence) {
  EXPECT_THAT(ErrorOf("name: 'countdown' sources { }"), HasSubstr("task.sources[0].name is missing: expected 1 to 63"));
  EXPECT_THAT(ErrorOf("name: 'countdown' sources { name: 'a b' }"), HasSubstr("task.sources[0].name is \"a b\""));
  EXPECT_EQ(ErrorOf("name: 'countdown'\nsources { name: 'a' }\nsources { name: 'a' }"),
            "run.textproto:7:11: task.sources[1].name is \"a\": expected a name that no other source has.");
  EXPECT_THAT(ErrorOf("name: 'countdown' sources { name: 'a' weight: 0 }"),
              HasSubstr("task.sources[0].weight is 0: expected a value from 1"));
  EXPECT_THAT(ErrorOf("name: 'countdown' sources { name: 'a' weight: -1 }"), HasSubstr("weight is -1"));
  EXPECT_THAT(ErrorOf("name: 'countdown' sources { name: 'a' weight: nan }"), HasSubstr("weight is nan"));
  EXPECT_THAT(ErrorOf("name: 'countdown' sources { name: 'a' weight: 1e6 } sources { name: 'b' weight: 0.9 }"),
              HasSubstr("task.sources[1].weight is 0.9: expected at least a millionth of all sources' together"));
  EXPECT_THAT(ErrorOf("name: 'countdown' sources { name: 'a' task: 'chess' }"),
              HasSubstr("task.sources[0].task is \"chess\": expected \"countdown\", \"arithmetic\" or \"qa\""));
  EXPECT_THAT(ErrorOf("name: 'countdown' sources { name: 'a' task: 'environment' }"), HasSubstr("sources[0].task is"));
  EXPECT_THAT(ErrorOf("name: 'countdown' sources { name: 'a' train_size: 0 }"),
              HasSubstr("task.sources[0].train_size is 0: expected a value from 1 to 1000000"));
  EXPECT_THAT(ErrorOf("name: 'countdown' sources { name: 'a' task: 'qa' test_path: 'b' }"),
              HasSubstr("task.sources[0].train_path is missing: expected a JSONL or Parquet file, as "
                        "task.sources[0].task is \"qa\""));
  EXPECT_THAT(ErrorOf("name: 'qa' sources { name: 'a' train_path: 'b' }"),
              HasSubstr("task.sources[0].test_path is missing"));
  EXPECT_THAT(ErrorOf("name: 'countdown' sources { name: 'a' test_path: 'b' }"),
              HasSubstr("task.sources[0].train_path is missing: expected puzzles to train on and held-out ones"));
  EXPECT_THAT(ErrorOf("name: 'countdown' sources { name: 'a' min_numbers: 5 }"),
              HasSubstr("task.sources[0].min_numbers is 5: expected at most task.sources[0].max_numbers = 4"));
  EXPECT_THAT(ErrorOf("name: 'countdown' train_path: 'a' sources { name: 'a' }"),
              HasSubstr("task.train_path is given beside task.sources: expected none, as each source names its own"));
  EXPECT_THAT(ErrorOf("name: 'environment' sources { name: 'a' task: 'qa' train_path: 'b' test_path: 'c' }", kServer),
              HasSubstr("task.name is \"environment\" beside task.sources"));
  EXPECT_THAT(
      ErrorOf("name: 'countdown' sources { name: 'a' } sources { name: 'b' rewards: ENVIRONMENT }"),
      HasSubstr("environment.address is missing: expected host:port of your server, as a source's rewards are"));
  EXPECT_THAT(ErrorOf("name: 'countdown' rewards: ENVIRONMENT sources { name: 'a' rewards: TASK }", kServer),
              HasSubstr("environment.address is given although nothing is asked there"));
  std::string many = "name: 'countdown' ";
  for (int i = 0; i < 65; ++i) absl::StrAppend(&many, "sources { name: 's", i, "' } ");
  EXPECT_THAT(ErrorOf(many), HasSubstr("task.sources are 65: expected at most 64"));
}

TEST(TaskSourcesTest, AHeldOutSetMayBeOfASource) {
  const std::string mixed =
      "name: 'countdown' sources { name: 'a' } sources { name: 'b' task: 'qa' train_path: 'c' test_path: 'd' }";
  const auto eval = [](const std::string& fields) {
    return absl::StrCat("eval { by: ACTORS sets { name: 'x' ", fields, " } }");
  };
  EXPECT_EQ(Parse(mixed, eval("source: 'b' test_path: 'e'")).eval().sets(0).source(), "b");
  EXPECT_EQ(Parse(mixed, eval("source: 'a'")).eval().sets(0).source(), "a");
  EXPECT_THAT(ErrorOf(mixed, eval("source: 'c'")), HasSubstr("eval.sets[0].source is \"c\": expected one of "
                                                             "task.sources, a, b"));
  EXPECT_THAT(ErrorOf("name: 'countdown'", eval("source: 'a'")),
              HasSubstr("eval.sets[0].source is \"a\": expected none, as there are no task.sources"));
  EXPECT_THAT(ErrorOf(mixed, eval("test_path: 'e'")), HasSubstr("eval.sets[0].source is missing: expected the source"));
  EXPECT_THAT(ErrorOf(mixed, eval("source: 'a' test_path: 'e'")),
              HasSubstr("eval.sets[0].test_path is given: expected none, as task countdown has one test set"));
}

}  // namespace
}  // namespace tactus::config
