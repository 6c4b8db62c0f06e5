// Tasks whose rows are read, by configuration alone: the shapes of data sets that people train on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/paths.h"
#include "common/tasks/task.h"
#include "proto/config.pb.h"
#include "tests/folder_test.h"
#include "tests/tree.h"

namespace tactus {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;

std::string Golden(absl::string_view name) { return SourcePath(absl::StrCat("tests/goldens/data/", name)); }

struct Shape {
  const char* name;
  const char* task;
  const char* question_field;
  const char* answer_field;
  const char* first_user;  // how it begins
  const char* first_key;
};

constexpr Shape kShapes[] = {
    {"gsm8k", "qa", "question", "answer", "A box holds 1 eggs.", R"({"answer":"6"})"},
    {"math", "qa", "problem", "solution", "Find $x$ with $x - 1 = 0$.", R"({"answer":"1"})"},
    {"dapo", "qa", "prompt", "reward_model.ground_truth", "Solve for n: n = 1 * 1", R"({"answer":"1"})"},
    {"chat", "qa", "messages", "answer", "What is 1 + 1?", R"({"answer":"2"})"},
    {"countdown", "countdown", "question", "answer", "Use each of the numbers 2, 3, 1 exactly once",
     R"({"numbers":[2,3,1],"target":6})"},
};

config::TaskOptions Options(const Shape& shape, const std::string& train, const std::string& test) {
  config::TaskOptions options;
  options.set_name(shape.task);
  options.set_question_field(shape.question_field);
  options.set_answer_field(shape.answer_field);
  options.set_train_path(train);
  options.set_test_path(test);
  return options;
}

// All that a run can see of a train set.
std::vector<std::string> Seen(const config::TaskOptions& options) {
  const auto task = CreateTask(options);
  if (!task.ok()) return {std::string(task.status().message())};
  std::vector<std::string> seen;
  for (size_t i = 0; i < (*task)->Size(Split::kTrain); ++i) {
    const TaskExample example = (*task)->Example(Split::kTrain, i).value();
    std::string& text = seen.emplace_back(absl::StrCat(example.system, "|"));
    for (const ChatMessage& message : example.earlier) absl::StrAppend(&text, message.role, "=", message.content, "|");
    absl::StrAppend(&text, example.user, "|", example.answer_key_json, "|",
                    example.where.substr(example.where.rfind(':')));
  }
  return seen;
}

class ReadTaskTest : public FolderTest {
 protected:
  // A held-out row of the shape that no golden has.
  std::string HeldOut(const Shape& shape) const {
    const std::string name = shape.name;
    return Write(name + "_test.jsonl", name == "countdown" ? R"({"nums":[50,60],"target":110})"
                                       : name == "dapo"
                                           ? R"({"prompt":"Held out?","reward_model":{"ground_truth":1}})"
                                           : absl::StrCat("{\"", shape.question_field, "\":\"Held out?\",\"",
                                                          shape.answer_field, "\":\"1\"}"));
  }
};

TEST_F(ReadTaskTest, BothFormatsGiveEqualPromptsByConfigurationAlone) {
  int compared = 0;
  const std::vector<std::string> files = ListFolder(Golden("")).value();
  for (const Shape& shape : kShapes) {
    const std::string test = HeldOut(shape);
    const std::string lines = Golden(absl::StrCat(shape.name, ".jsonl"));
    const std::vector<std::string> expected = Seen(Options(shape, lines, test));
    ASSERT_GE(expected.size(), 7u) << expected[0];
    const auto task = CreateTask(Options(shape, lines, test)).value();
    EXPECT_THAT(task->Example(Split::kTrain, 0)->user, ::testing::StartsWith(shape.first_user));
    EXPECT_EQ(task->Example(Split::kTrain, 0)->answer_key_json, shape.first_key);
    for (const std::string& file : files) {
      if (!file.starts_with(absl::StrCat(shape.name, ".")) || !file.ends_with(".parquet")) continue;
      EXPECT_EQ(Seen(Options(shape, Golden(file), test)), expected) << file;
      ++compared;
    }
  }
  EXPECT_EQ(compared, 17);
}

TEST_F(ReadTaskTest, MessagesAreAskedAsTheyAre) {
  const Shape& chat = kShapes[3];
  const auto task = CreateTask(Options(chat, Golden("chat.arrow.parquet"), HeldOut(chat))).value();
  const TaskExample system = task->Example(Split::kTrain, 0).value();
  EXPECT_EQ(system.system, "Be brief.");
  EXPECT_EQ(system.user, "What is 1 + 1?");
  EXPECT_TRUE(system.earlier.empty());
  const TaskExample longer = task->Example(Split::kTrain, 7).value();
  EXPECT_EQ(longer.system, "");
  ASSERT_EQ(longer.earlier.size(), 2u);
  EXPECT_EQ(longer.earlier[0].content, "1 + 1?");
  EXPECT_EQ(longer.earlier[1].role, "assistant");
  EXPECT_EQ(longer.user, "And once more?");
  EXPECT_THAT(task->Example(Split::kTest, 0)->user, HasSubstr("Think step by step")) << "a text, as prompt_style says";
}

TEST_F(ReadTaskTest, TheSameMistakesAreNamedInBothFormats) {
  const Shape plain = kShapes[0];
  const std::string test = HeldOut(plain);
  const auto error = [&](const Shape& shape, const std::string& train) {
    return std::string(CreateTask(Options(shape, train, test)).status().message());
  };
  EXPECT_THAT(error(plain, Golden("refused_number.parquet")),
              EndsWith("refused_number.parquet:1: question: expected a string or a list of messages"));
  EXPECT_THAT(error(plain, Write("n.jsonl", R"({"question":7,"answer":"1"})")),
              EndsWith("n.jsonl:1: question: expected a string or a list of messages"));
  EXPECT_THAT(error(plain, Golden("refused_null.parquet")), HasSubstr("refused_null.parquet:2: question: expected"));
  EXPECT_THAT(error(plain, Golden("refused_nothing.parquet")),
              EndsWith("nothing.parquet: expected at least one question"));
  EXPECT_THAT(error(plain, Golden("math.arrow.parquet")),
              HasSubstr("there is no column \"question\", expected one of "));
  EXPECT_THAT(error(plain, Golden("math.jsonl")), EndsWith("math.jsonl:1: key \"question\" is missing"));
  EXPECT_THAT(error({"", "qa", "question", "reward.truth", "", ""}, Golden("gsm8k.jsonl")),
              EndsWith("gsm8k_test.jsonl:1: key \"reward.truth\" is missing"));
  const std::pair<const char*, const char*> messages[] = {
      {"[]", "question: expected messages of which the last is the user's"},
      {R"([{"role":"assistant","content":"a"}])", "question: expected messages of which the last is the user's"},
      {R"([{"role":"user","content":" "}])", "question: expected some text of the user's"},
      {R"([{"role":"user"}])", "question[0]: key \"content\" is missing"},
      {R"([{"role":"user","content":["a"]}])", "question[0].content: expected a string"},
      {R"([{"role":"user","content":"a"},{"role":"system","content":"b"},{"role":"user","content":"c"}])",
       "question[1]: expected a system message in the first place alone"},
  };
  for (const auto& [value, message] : messages) {
    EXPECT_THAT(error(plain, Write("m.jsonl", absl::StrCat(R"({"answer":"1","question":)", value, "}"))),
                HasSubstr(absl::StrCat("m.jsonl:1: ", message)));
  }
}

TEST_F(ReadTaskTest, CountdownPuzzlesAreReadAndChecked) {
  const Shape& shape = kShapes[4];
  const auto error = [&](const std::string& line) {
    return std::string(CreateTask(Options(shape, Write("c.jsonl", line), HeldOut(shape))).status().message());
  };
  EXPECT_THAT(error(R"({"nums":[1,2.5],"target":3})"), EndsWith("c.jsonl:1: nums[1]: expected a 64-bit integer"));
  EXPECT_THAT(error(R"({"nums":[],"target":3})"), EndsWith("c.jsonl:1: nums: expected an array of 1 to 100 integers"));
  EXPECT_THAT(error(R"({"nums":[1],"target":"3"})"), EndsWith("c.jsonl:1: target: expected a 64-bit integer"));
  EXPECT_THAT(error(R"({"numbers":[1],"target":3})"), EndsWith("c.jsonl:1: key \"nums\" is missing"));
  // The numbers in any order are the same puzzle.
  EXPECT_THAT(error(R"({"nums":[60,50],"target":110})"), HasSubstr("asks the puzzle of "));
  config::TaskOptions options = Options(shape, Golden("countdown.jsonl"), HeldOut(shape));
  options.set_prompt_style("compact");
  const auto task = CreateTask(options).value();
  EXPECT_EQ(task->Example(Split::kTrain, 0)->user, "2 3 1=6:");
  EXPECT_THAT(task->Trace(0, 0).value(), HasSubstr("<answer>"));
  options.clear_train_path();
  EXPECT_THAT(std::string(CreateTask(options).status().message()), HasSubstr("task.train_path is missing"));
  options.set_train_path(HeldOut(shape));
  EXPECT_EQ((*CreateTestSet(options))->Size(Split::kTest), 1u);
}

TEST_F(ReadTaskTest, RowsThatAreHeldOutAreLeftOutWhenAskedFor) {
  const Shape& shape = kShapes[0];
  const std::string test =
      Write("t.jsonl", R"({"question":"A box holds 3 eggs. How many are in 6 boxes?","answer":18})");
  config::TaskOptions options = Options(shape, Golden("gsm8k.polars.parquet"), test);
  EXPECT_THAT(std::string(CreateTask(options).status().message()),
              HasSubstr("t.jsonl:1 asks the question of " + Golden("gsm8k.polars.parquet") + ":3, expected test"));
  options.set_unusable_rows(config::TaskOptions::LEAVE_OUT);
  ::testing::internal::CaptureStderr();
  const auto task = CreateTask(options);
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), HasSubstr("1 rows of task.train_path are not trained on"));
  EXPECT_EQ((*task)->Size(Split::kTrain), 6u);
  EXPECT_THAT((*task)->Example(Split::kTrain, 2)->where, EndsWith(":4"));
}

// A server of the user's judges: it is given what stands beside the question, the same of both formats.
TEST_F(ReadTaskTest, AnEnvironmentIsGivenTheWholeRow) {
  const Shape& shape = kShapes[2];
  const auto key = [&](absl::string_view file) {
    config::TaskOptions options = Options(shape, Golden(file), HeldOut(shape));
    options.set_rewards(config::TaskOptions::ENVIRONMENT);
    return CreateTask(options).value()->Example(Split::kTrain, 1)->answer_key_json;
  };
  EXPECT_EQ(key("dapo.jsonl"), R"({"ability":"MATH","data_source":"math_dapo","extra_info":{"index":"id-2"},)"
                               R"("reward_model":{"ground_truth":"4","style":"rule-lighteval/MATH_v2"}})");
  EXPECT_EQ(key("dapo.arrow.parquet"), key("dapo.jsonl"));
  EXPECT_EQ(key("dapo.polars.parquet"), key("dapo.jsonl"));
}

}  // namespace
}  // namespace tactus
