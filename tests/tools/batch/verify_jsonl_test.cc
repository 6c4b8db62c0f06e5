#include "tools/batch/verify_jsonl.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <vector>

#include "common/base/json_lines.h"

namespace tactus {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

struct Outcome {
  absl::Status status;
  std::string text;
};

Outcome Verify(const std::string& input, const std::string& task = "countdown") {
  std::istringstream in(input);
  std::ostringstream out;
  Outcome outcome;
  VerifierJudge judge(CreateVerifier(task, 0.05).value());
  outcome.status = VerifyJsonl(judge, absl::Seconds(1), in, "in.jsonl", out);
  outcome.text = out.str();
  return outcome;
}

std::string Line(const std::string& response) {
  return nlohmann::json{{"id", "a"}, {"numbers", {1, 2, 3}}, {"target", 7}, {"response", response}}.dump() + "\n";
}

TEST(VerifyJsonl, WritesOneVerdictPerLineInOrder) {
  const Outcome outcome = Verify(
      "{\"id\":\"x\",\"numbers\":[1,2,3],\"target\":7,\"response\":\"<answer>2*3+1</answer>\"}\n"
      "\n"
      "{\"id\":12,\"numbers\":[1,2,3],\"target\":7,\"response\":\"<answer>1+2+3</answer>\"}\r\n"
      "{\"response\":\"\",\"target\":7,\"numbers\":[1,2,3],\"id\":\"\xC3\xA9\"}");
  EXPECT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_EQ(outcome.text,
            "{\"id\":\"x\",\"correct\":true,\"reward\":1.0,\"reason\":\"correct\"}\n"
            "{\"id\":12,\"correct\":false,\"reward\":0.05,\"reason\":\"wrong_value\"}\n"
            "{\"id\":\"\xC3\xA9\",\"correct\":false,\"reward\":0.0,\"reason\":\"no_answer\"}\n");
}

TEST(VerifyJsonl, JudgesTheKnownHostileAnswers) {
  const std::pair<const char*, const char*> cases[] = {
      {"<answer>2**3+1</answer>", "syntax_error"},    {"<answer>7//2+1</answer>", "syntax_error"},
      {"<answer>80**55**7</answer>", "syntax_error"}, {"<answer></answer>", "empty_answer"},
      {"<answer>banana</answer>", "bad_character"},   {"<answer>2*3+1 = 7</answer>", "correct"},
      {"<answer>2*3+1\n</answer>", "correct"},        {"<answer>\n2*3+1\n</answer>\n", "correct"},
      {"<answer>2*3+1</answer>\n", "correct"},        {"<answer>1/(2-2)</answer>", "wrong_numbers"},
  };
  for (const auto& [response, reason] : cases) {
    const Outcome outcome = Verify(Line(response));
    ASSERT_TRUE(outcome.status.ok()) << outcome.status;
    EXPECT_EQ(nlohmann::json::parse(outcome.text)["reason"], reason) << response;
  }
}

TEST(VerifyJsonl, ServesEveryTask) {
  EXPECT_EQ(Verify("{\"id\":1,\"answer\":\"12*6=72\\n#### 72\",\"response\":\"\\\\boxed{72}\"}\n"
                   "{\"id\":2,\"answer\":72,\"response\":\"<answer>**72** eggs</answer>\"}\n"
                   "{\"id\":3,\"answer\":\"Paris\",\"response\":\"#### Rome\"}\n",
                   "qa")
                .text,
            "{\"id\":1,\"correct\":true,\"reward\":1.0,\"reason\":\"correct\"}\n"
            "{\"id\":2,\"correct\":true,\"reward\":1.0,\"reason\":\"correct\"}\n"
            "{\"id\":3,\"correct\":false,\"reward\":0.05,\"reason\":\"wrong_answer\"}\n");
  EXPECT_EQ(Verify("{\"id\":1,\"answer\":7,\"response\":\"7\"}", "arithmetic").text,
            "{\"id\":1,\"correct\":true,\"reward\":1.0,\"reason\":\"correct\"}\n");
  EXPECT_THAT(std::string(Verify("{\"id\":1,\"numbers\":[1],\"target\":1,\"response\":\"\"}", "qa").status.message()),
              AllOf(StartsWith("in.jsonl:1: "), HasSubstr("unknown key \"numbers\", expected answer")));
}

TEST(VerifyJsonl, NamesTheLineOfAMistakeAndKeepsTheVerdictsBefore) {
  const std::pair<std::string, const char*> cases[] = {
      {"{", "not valid JSON"},
      {"[1]", "expected a JSON object"},
      {"{\"id\":\"a\",\"numbers\":[1],\"target\":1}", "key \"response\" is missing"},
      {"{\"id\":\"a\",\"numbers\":[1],\"target\":1,\"response\":\"\",\"extra\":1}", "unknown key \"extra\""},
      {"{\"id\":null,\"numbers\":[1],\"target\":1,\"response\":\"\"}", "id: expected a string or an integer"},
      {"{\"id\":1.5,\"numbers\":[1],\"target\":1,\"response\":\"\"}", "id: expected a string or an integer"},
      {"{\"id\":1,\"numbers\":[],\"target\":1,\"response\":\"\"}", "numbers: expected an array"},
      {"{\"id\":1,\"numbers\":[\"1\"],\"target\":1,\"response\":\"\"}", "numbers[0]: expected a 64-bit integer"},
      {"{\"id\":1,\"numbers\":[1],\"target\":1.0,\"response\":\"\"}", "target: expected a 64-bit integer"},
      {"{\"id\":1,\"numbers\":[1],\"target\":99999999999999999999,\"response\":\"\"}", "target: expected a 64-bit"},
      {"{\"id\":1,\"numbers\":[1],\"target\":1,\"response\":7}", "response: expected a string"},
      {"{\"id\":1,\"numbers\":[1],\"target\":1,\"response\":\"\xFF\"}", "not valid JSON"},
      {"{\"id\":1,\"numbers\":[1],\"target\":1,\"response\":\"\\ud800\"}", "not valid JSON"},
      {"{\"id\":1,\"id\":1,\"numbers\":[1],\"target\":1,\"response\":\"\"}", "twice"},
      {"{\"id\":1,\"numbers\":" + std::string(100'000, '['), "nested"},
  };
  for (const auto& [line, message] : cases) {
    const Outcome outcome = Verify(Line("") + "\n" + line + "\n" + Line(""));
    EXPECT_FALSE(outcome.status.ok()) << line;
    EXPECT_THAT(std::string(outcome.status.message()), StartsWith("in.jsonl:3: ")) << line;
    EXPECT_THAT(std::string(outcome.status.message()), HasSubstr(message)) << line;
    EXPECT_EQ(std::count(outcome.text.begin(), outcome.text.end(), '\n'), 1) << line;
  }
}

TEST(VerifyJsonl, BoundsTheLine) {
  const Outcome outcome = Verify(std::string(kMaxJsonLineBytes + 1, ' ') + "\n");
  EXPECT_EQ(outcome.status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(outcome.status.message()),
              StartsWith("in.jsonl:1: expected a line of at most 4194304 bytes"));
  EXPECT_TRUE(Verify("").status.ok());
}

// A user's server: what it is given, and that its silence ends the work.
TEST(VerifyJsonl, HandsAKeyOnAsItIs) {
  class Recorder : public Judge {
   public:
    absl::StatusOr<std::vector<Reward>> Score(const Question& question, std::span<const Answer> answers,
                                              absl::Time) override {
      keys.emplace_back(question.answer_key);
      if (keys.size() > 2) return absl::UnavailableError("away");
      return std::vector<Reward>(answers.size(), {.total = -2.5, .correct = 1, .format = -3.5, .reason = "ok"});
    }
    std::vector<std::string> keys;
  } judge;
  const std::string lines = R"({"id":1,"response":"x","answer_key":"\u00e9 #1"}
{"id":2,"response":"x","answer_key":"a","tests":[1]}
{"id":3,"response":"x"}
)";
  std::istringstream in(lines);
  std::ostringstream out;
  EXPECT_EQ(VerifyJsonl(judge, absl::Seconds(1), in, "in.jsonl", out).code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(judge.keys, ::testing::ElementsAre("é #1", R"({"answer_key":"a","tests":[1]})", "{}"));
  EXPECT_THAT(out.str(), StartsWith(R"({"id":1,"correct":true,"reward":-2.5,"reason":"ok"})"));
}

TEST(VerifyJsonl, ReportsAnInputThatIsNotThere) {
  std::ifstream in("/nonexistent/in.jsonl");
  std::ostringstream out;
  VerifierJudge judge(CreateVerifier("countdown", 0.05).value());
  EXPECT_EQ(VerifyJsonl(judge, absl::Seconds(1), in, "/nonexistent/in.jsonl", out).code(), absl::StatusCode::kNotFound);
}

TEST(VerifyJsonl, ReportsAnOutputThatRefusesTheBytes) {
  std::istringstream in(Line(""));
  std::ostream out(nullptr);
  VerifierJudge judge(CreateVerifier("countdown", 0.05).value());
  EXPECT_EQ(VerifyJsonl(judge, absl::Seconds(1), in, "in.jsonl", out).code(), absl::StatusCode::kInternal);
}

}  // namespace
}  // namespace tactus
