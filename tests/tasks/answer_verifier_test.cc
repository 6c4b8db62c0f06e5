#include "common/tasks/answer_verifier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>

namespace tactus {
namespace {

using ::testing::HasSubstr;

std::string Judge(const std::string& reference, const std::string& completion) {
  const auto reward = AnswerVerifier(0.05).Score(AnswerKey(reference), completion);
  EXPECT_TRUE(reward.ok()) << reward.status();
  if (!reward.ok()) return "status";
  EXPECT_EQ(reward->total, reward->correct + reward->format);
  EXPECT_EQ(reward->correct == 1, reward->reason == "correct");
  return reward->reason + (reward->format > 0 ? "+format" : "");
}

TEST(AnswerVerifier, ComparesNumbersExactly) {
  EXPECT_EQ(Judge("72", "work\n#### 72"), "correct");
  EXPECT_EQ(Judge("1234.5", "so \\boxed{1,234.50}."), "correct");
  EXPECT_EQ(Judge("0.75", "<answer>\\frac{3}{4}</answer>"), "correct");
  EXPECT_EQ(Judge("1/3", "<answer>0.33333</answer>"), "wrong_answer+format");
  EXPECT_EQ(Judge("1/3", "<answer>0.333333</answer>"), "correct");  // to six places
  EXPECT_EQ(Judge("9007199254740993", "#### 9007199254740992"), "wrong_answer+format");
  EXPECT_EQ(Judge("-3",
                  "\\boxed{\xE2\x88\x92"
                  "3}"),
            "correct");
  EXPECT_EQ(Judge("18", "#### $18"), "correct");
}

TEST(AnswerVerifier, ComparesOtherTextLiterally) {
  EXPECT_EQ(Judge("Paris", "<answer> Paris </answer>"), "correct");
  EXPECT_EQ(Judge("Paris", "Paris\n"), "correct");
  EXPECT_EQ(Judge("Paris", "<answer>paris</answer>"), "wrong_answer+format");
  EXPECT_EQ(Judge("x^2+1", "thus \\boxed{x^2+1}"), "correct");
  EXPECT_EQ(Judge("\\sqrt{2}", "thus \\boxed{\\sqrt{2}}"), "correct");
  EXPECT_EQ(Judge("Paris", "I think it is Paris"), "wrong_answer");
}

TEST(AnswerVerifier, LooksThroughTheDress) {
  for (const char* answer :
       {"\\boxed{\\$18}", "<answer>$18$</answer>", "\\boxed{18\\text{ dollars}}", "<answer>**18**</answer>",
        "\\boxed{x = 18}", "\\boxed{18\\%}", "#### $18.00", "**18**", "$\\boxed{18^\\circ}$"}) {
    EXPECT_EQ(Judge("18", answer), "correct") << answer;
    EXPECT_NE(Judge("19", answer), "correct") << answer;
  }
  EXPECT_EQ(Judge("$18", "\\boxed{18}"), "correct");  // the reference may be dressed as well
  EXPECT_EQ(Judge("B", "\\boxed{\\text{B}}"), "correct");
  EXPECT_EQ(Judge("(B)", "<answer>**B**</answer>"), "correct");
  EXPECT_EQ(Judge("B", "<answer>\\text{C}</answer>"), "wrong_answer+format");
}

TEST(AnswerVerifier, TakesNoHeadingForAnAnswer) {
  EXPECT_EQ(Judge("18", "So \\boxed{18}.\n\n#### Explanation\nNine times two."), "correct");
  EXPECT_EQ(Judge("18", "#### Step 1: double\nThat is 18.\n<answer>18</answer>\n##### 19"), "correct");
}

TEST(AnswerVerifier, TakesTheLastMark) {
  EXPECT_EQ(Judge("2", "\\boxed{1} no, \\boxed{2}"), "correct");
  EXPECT_EQ(Judge("2", "\\boxed{2} no, #### 1"), "wrong_answer+format");
  EXPECT_EQ(Judge("2", "<answer>The result is \\boxed{2}</answer>"), "correct");
  EXPECT_EQ(Judge("2", "\\boxed{1} <answer>2"), "wrong_answer+format");
  EXPECT_EQ(Judge("2", "2"), "correct");
  EXPECT_EQ(Judge("2", "1+1=2"), "correct");
  EXPECT_EQ(Judge("2", "1+1"), "no_answer");
  EXPECT_EQ(Judge("2", "It is 2, I think"), "no_answer");
}

TEST(AnswerVerifier, PaysNothingForAMarkWithoutAnAnswer) {
  EXPECT_EQ(Judge("2", ""), "no_answer");
  EXPECT_EQ(Judge("2", "<answer></answer>"), "empty_answer");
  EXPECT_EQ(Judge("2", "####"), "empty_answer");
  EXPECT_EQ(Judge("2", "<answer>2</answer>\n####"), "correct");  // an empty heading
  EXPECT_EQ(Judge("2", "\\boxed{}"), "empty_answer");
  EXPECT_EQ(Judge("2", "<answer>banana</answer>"), "not_a_number");
}

TEST(AnswerVerifier, SurvivesRandomBytes) {
  std::mt19937_64 random(1);
  const std::string pieces[] = {"<answer>", "</answer>", "\\boxed{", "}", "####", "\n", "2", "$",    "**", "\\frac",
                                "10^",      "\\text{",   "=",        "-", ",",    ".",  "/", "\xFF", "{",  "\\"};
  for (int i = 0; i < 20'000; ++i) {
    std::string text;
    for (uint64_t n = random() % 12; n > 0; --n) text += pieces[random() % std::size(pieces)];
    const auto reward = AnswerVerifier(0.05).Score(AnswerKey("2"), text);
    ASSERT_TRUE(reward.ok());
    ASSERT_TRUE(reward->total == 0 || reward->total == 0.05 || reward->total == 1) << text;
  }
}

TEST(AnswerVerifier, NamesWhatIsWrongInTheKey) {
  for (const auto& [key, message] : {std::pair("{}", "\"answer\" is missing"),
                                     {"{\"answer\":[7]}", "expected a string or a number"},
                                     {"{\"answer\":\"\",\"x\":1}", "unknown key \"x\""},
                                     {"7", "expected a JSON object"}}) {
    const auto reward = AnswerVerifier(0.05).Score(key, "7");
    EXPECT_EQ(reward.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(reward.status().message()), HasSubstr(message));
  }
}

TEST(FinalAnswer, IsWhatTheReferenceConcludes) {
  EXPECT_EQ(FinalAnswer("Natalia sold 48/2 = <<48/2=24>>24 clips.\n#### 72"), "72");
  EXPECT_EQ(FinalAnswer("We get $\\boxed{\\frac{1}{2}}$."), "\\frac{1}{2}");
  EXPECT_EQ(FinalAnswer(" Paris \n"), "Paris");
  EXPECT_EQ(FinalAnswer("work ####"), "");
}

}  // namespace
}  // namespace tactus
