#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "common/tasks/task.h"
#include "proto/config.pb.h"
#include "tests/folder_test.h"

namespace tactus {
namespace {

using ::testing::HasSubstr;

class QaTaskTest : public FolderTest {
 protected:
  absl::StatusOr<std::unique_ptr<Task>> Make(const std::string& train, const std::string& test) {
    config::TaskOptions options;
    options.set_name("qa");
    options.set_train_path(Write("train.jsonl", train));
    options.set_test_path(Write("test.jsonl", test));
    return CreateTask(options);
  }

  std::string Error(const std::string& train, const std::string& test) {
    const auto task = Make(train, test);
    EXPECT_EQ(task.status().code(), absl::StatusCode::kInvalidArgument) << task.status();
    return std::string(task.status().message());
  }
};

constexpr char kTest[] = "{\"question\":\"Capital of France?\",\"answer\":\"Paris\"}\n";

TEST_F(QaTaskTest, ReadsQuestionsAndJudgesAnswers) {
  const auto task = Make(
      "{\"question\":\"How many?\",\"answer\":\"24+48 = <<24+48=72>>72.\\n#### 1,072\"}\n"
      "\n"
      "{\"answer\":\"\\\\boxed{x}\",\"question\":\" Which letter? \"}\r\n",
      kTest);
  ASSERT_TRUE(task.ok()) << task.status();
  EXPECT_EQ((*task)->Size(Split::kTrain), 2u);
  EXPECT_EQ((*task)->Size(Split::kTest), 1u);
  const TaskExample number = (*task)->Example(Split::kTrain, 0).value(),
                    letter = (*task)->Example(Split::kTrain, 1).value();
  EXPECT_THAT(number.user, HasSubstr("How many?"));
  EXPECT_THAT(number.user, HasSubstr("<answer>"));
  const std::unique_ptr<Verifier> made = CreateVerifier("qa", 0.05).value();
  const Verifier& verifier = *made;
  EXPECT_EQ(verifier.Score(number.answer_key_json, "#### 1072")->total, 1);
  EXPECT_EQ(verifier.Score(number.answer_key_json, "#### 72")->total, 0.05);
  EXPECT_EQ(verifier.Score(letter.answer_key_json, "\\boxed{x}")->total, 1);
  EXPECT_EQ((*task)->Trace(0, 0).status().code(), absl::StatusCode::kUnimplemented);
}

TEST_F(QaTaskTest, ReadsNumbersAndSkipsOtherKeys) {
  const auto task = Make(
      "{\"id\":7,\"question\":\"How many?\",\"answer\":72,\"meta\":{\"level\":[1]}}\n"
      "{\"question\":\"How much?\",\"answer\":-0.5,\"source\":null}\n",
      kTest);
  ASSERT_TRUE(task.ok()) << task.status();
  const std::unique_ptr<Verifier> made = CreateVerifier("qa", 0.05).value();
  const Verifier& verifier = *made;
  EXPECT_EQ(verifier.Score((*task)->Example(Split::kTrain, 0).value().answer_key_json, "#### 72")->total, 1);
  EXPECT_EQ(verifier.Score((*task)->Example(Split::kTrain, 1).value().answer_key_json, "\\boxed{-\\frac12}")->total, 1);
}

// A server judges, by all that a line holds.
TEST_F(QaTaskTest, HandsOverTheWholeLineWhereAnEnvironmentJudges) {
  const auto make = [this](const std::string& train) {
    std::ofstream(folder_ + "/train.jsonl") << train;
    std::ofstream(folder_ + "/test.jsonl") << kTest;
    config::TaskOptions options;
    options.set_name("qa");
    options.set_rewards(config::TaskOptions::ENVIRONMENT);
    options.set_train_path(folder_ + "/train.jsonl");
    options.set_test_path(folder_ + "/test.jsonl");
    return CreateTask(options);
  };
  const auto task = make("{\"question\":\"Sort a list.\",\"tests\":[\"f([2,1])==[1,2]\"],\"answer\":\"#### 3\"}\n");
  ASSERT_TRUE(task.ok()) << task.status();
  EXPECT_EQ((*task)->Example(Split::kTrain, 0).value().answer_key_json,
            "{\"answer\":\"#### 3\",\"tests\":[\"f([2,1])==[1,2]\"]}");
  EXPECT_TRUE(make("{\"question\":\"No answer?\"}\n").ok());
  const auto large = make("{\"question\":\"?\",\"text\":\"" + std::string(70000, 'x') + "\"}\n");
  EXPECT_THAT(std::string(large.status().message()), HasSubstr("expected at most 65536"));
}

TEST_F(QaTaskTest, NeedsNoTrainFileForTheTestSetAlone) {
  const std::string path = folder_ + "/only.jsonl";
  std::ofstream(path) << kTest;
  config::TaskOptions options;
  options.set_name("qa");
  options.set_train_path(path);  // named, as it must be, but its questions are no trained ones
  options.set_test_path(path);
  const auto task = CreateTestSet(options);
  ASSERT_TRUE(task.ok()) << task.status();
  EXPECT_EQ((*task)->Size(Split::kTest), 1u);
  EXPECT_EQ((*task)->Size(Split::kTrain), 0u);
  options.set_test_path(folder_ + "/nowhere.jsonl");
  EXPECT_EQ(CreateTestSet(options).status().code(), absl::StatusCode::kNotFound);
}

TEST(CreateVerifier, MakesEveryTasksByName) {
  for (const char* name : {"arithmetic", "countdown", "qa"}) EXPECT_TRUE(CreateVerifier(name, 0.05).ok()) << name;
  EXPECT_EQ((*CreateVerifier("qa", 0.25))->Score("{\"answer\":\"1\"}", "#### 2")->total, 0.25);
  EXPECT_EQ(CreateVerifier("chess", 0).status().message(),
            "there is no task \"chess\", expected one of arithmetic, countdown, qa.");
}

TEST_F(QaTaskTest, NamesFileAndLineOfAMistake) {
  const std::pair<std::string, const char*> cases[] = {
      {"{", "not valid JSON"},
      {"7", "expected a JSON object"},
      {"{\"question\":\"q\"}", "key \"answer\" is missing"},
      {"{\"question\":\"q\",\"id\":1}", "key \"answer\" is missing"},
      {"{\"question\":1,\"answer\":\"a\"}", "question: expected a string"},
      {"{\"question\":\"q\",\"answer\":true}", "answer: expected a string or a number"},
      {"{\"question\":\"q\",\"answer\":1e40}", "answer: expected a string: a number this long would lose digits"},
      {"{\"question\":\" \",\"answer\":\"a\"}", "question: expected some text"},
      {"{\"question\":\"q\",\"answer\":\"work ####\"}", "answer: expected a final answer"},
      {"{\"question\":\"\xFF\",\"answer\":\"a\"}", "not valid JSON"},
  };
  const std::string good = "{\"question\":\"q0\",\"answer\":\"a\"}\n";
  for (const auto& [line, message] : cases) {
    EXPECT_THAT(Error(good + line + "\n", kTest), HasSubstr("train.jsonl:2: ")) << line;
    EXPECT_THAT(Error(good + line + "\n", kTest), HasSubstr(message)) << line;
    EXPECT_THAT(Error(good, "\n" + line), HasSubstr("test.jsonl:2: ")) << line;
  }
}

TEST_F(QaTaskTest, RefusesAQuestionInBothSplits) {
  const std::string error =
      Error(std::string("{\"question\":\"q\",\"answer\":\"a\"}\n") + kTest, std::string("\n") + kTest);
  EXPECT_THAT(error, HasSubstr("test.jsonl:2 asks the question of "));
  EXPECT_THAT(error, HasSubstr("train.jsonl:2"));
}

TEST_F(QaTaskTest, RefusesMissingAndEmptyFiles) {
  EXPECT_THAT(Error("\n", kTest), HasSubstr("train.jsonl: expected at least one question"));
  config::TaskOptions options;
  options.set_name("qa");
  EXPECT_THAT(std::string(CreateTask(options).status().message()), HasSubstr("task.train_path"));
  options.set_train_path(folder_ + "/nowhere.jsonl");
  options.set_test_path(folder_ + "/nowhere.jsonl");
  EXPECT_EQ(CreateTask(options).status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(CreateTask(options).status().message()), HasSubstr("nowhere.jsonl"));
}

}  // namespace
}  // namespace tactus
