#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <string>

#include "common/tasks/task.h"
#include "proto/config.pb.h"

namespace tactus {
namespace {

config::TaskOptions Arithmetic(const std::string& style) {
  config::TaskOptions options;
  options.set_name("arithmetic");
  options.set_prompt_style(style);
  return options;
}

TEST(ArithmeticTask, QuestionsAreAnsweredRightAndSplitsAreDisjoint) {
  const auto task = CreateTask(Arithmetic("compact"));
  ASSERT_TRUE(task.ok()) << task.status();
  ASSERT_EQ((*task)->Size(Split::kTrain), 20000u);
  ASSERT_EQ((*task)->Size(Split::kTest), 512u);
  const std::regex form("([0-9]+)([-+*])([0-9]+)=");
  std::set<std::string> test;
  std::set<char> operations;
  for (const Split split : {Split::kTest, Split::kTrain}) {
    for (size_t i = 0; i < (*task)->Size(split); ++i) {
      const TaskExample example = (*task)->Example(split, i).value();
      std::smatch m;
      ASSERT_TRUE(std::regex_match(example.user, m, form)) << example.user;
      const int a = std::stoi(m[1]), b = std::stoi(m[3]);
      const char op = m[2].str()[0];
      operations.insert(op);
      const int answer = op == '+' ? a + b : op == '-' ? a - b : a * b;
      ASSERT_EQ(nlohmann::json::parse(example.answer_key_json)["answer"], std::to_string(answer)) << example.user;
      const std::string identity = op + std::to_string(std::max(a, b)) + " " + std::to_string(std::min(a, b));
      if (split == Split::kTest) {
        EXPECT_TRUE(test.insert(identity).second) << "twice in the test set: " << example.user;
      } else {
        ASSERT_EQ(test.count(identity), 0u) << example.user;
      }
    }
  }
  EXPECT_EQ(operations.size(), 3u);
}

TEST(ArithmeticTask, VerifiesChatAnswers) {
  const auto task = CreateTask(Arithmetic("chat"));
  const TaskExample example = (*task)->Example(Split::kTrain, 0).value();
  EXPECT_NE(example.user.find("<answer>"), std::string::npos);
  const std::string answer = nlohmann::json::parse(example.answer_key_json)["answer"];
  const std::unique_ptr<Verifier> made = CreateVerifier("arithmetic", 0.05).value();
  const Verifier& verifier = *made;
  EXPECT_EQ(verifier.Score(example.answer_key_json, "hm\n<answer>" + answer + "</answer>")->total, 1);
  EXPECT_EQ(verifier.Score(example.answer_key_json, "<answer>" + answer + "1</answer>")->total, 0.05);
  EXPECT_EQ(verifier.Score(example.answer_key_json, "<answer></answer>")->total, 0);
  EXPECT_EQ((*task)->Trace(0, 0).status().code(), absl::StatusCode::kUnimplemented);
}

TEST(ArithmeticTask, RefusesBadOptionsByName) {
  config::TaskOptions options = Arithmetic("chat");
  options.set_test_size(100'001);
  EXPECT_NE(CreateTask(options).status().message().find("task.test_size"), absl::string_view::npos);
  options = Arithmetic("prose");
  EXPECT_NE(CreateTask(options).status().message().find("task.prompt_style"), absl::string_view::npos);
}

}  // namespace
}  // namespace tactus
