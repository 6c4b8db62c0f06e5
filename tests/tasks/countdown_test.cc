#include "common/tasks/countdown.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace tactus {
namespace {

using ::testing::HasSubstr;

constexpr double kFormat = 0.05;

Reward ScoreAnswer(const std::vector<int64_t>& numbers, int64_t target, const std::string& completion) {
  const auto reward = CountdownVerifier(kFormat).Score(CountdownKey({numbers, target}), completion);
  EXPECT_TRUE(reward.ok()) << reward.status();
  return reward.value_or(Reward{.total = -1, .correct = -1, .format = -1, .reason = "status"});
}

std::string Tagged(const std::string& text) { return "Let me think.\n<answer>" + text + "</answer>"; }

void ExpectRight(const std::string& completion) {
  const Reward reward = ScoreAnswer({1, 2, 3}, 7, completion);
  EXPECT_EQ(reward.reason, "correct") << completion;
  EXPECT_EQ(reward.total, 1) << completion;
  EXPECT_EQ(reward.correct, 1) << completion;
  EXPECT_EQ(reward.format, 0) << completion;
}

void ExpectWrong(const std::string& completion, const std::string& reason, double total) {
  const Reward reward = ScoreAnswer({1, 2, 3}, 7, completion);
  EXPECT_EQ(reward.reason, reason) << completion;
  EXPECT_EQ(reward.total, total) << completion;
  EXPECT_EQ(reward.correct, 0) << completion;
  EXPECT_EQ(reward.format, total) << completion;
}

TEST(CountdownVerifier, AcceptsRightAnswersHoweverTheyAreWritten) {
  for (const char* text :
       {"2*3+1", " 2 * 3 + 1 ", "(2*3)+1",
        "1+3\xC3\x97"
        "2",
        "2*3+1 = 7", "2*3+1=7", "2*3+1\n", "\n2*3+1\n", "\r\n\t2*3+1\t\r\n", "((((2*3))))+1", "02*3+1"}) {
    ExpectRight(Tagged(text));
  }
  ExpectRight(Tagged("2*3+1") + "\n");
  ExpectRight(Tagged("2*3+1") + " Done. <answer>");
  ExpectRight(Tagged("9") + Tagged("2*3+1"));
}

TEST(CountdownVerifier, GivesNothingForWhatIsNoExpression) {
  ExpectWrong("", "no_answer", 0);
  ExpectWrong("2*3+1", "no_answer", 0);
  ExpectWrong("<answer>2*3+1", "no_answer", 0);
  ExpectWrong(Tagged(""), "empty_answer", 0);
  ExpectWrong(Tagged(" \n "), "empty_answer", 0);
  ExpectWrong(Tagged("2*3+1") + Tagged(""), "empty_answer", 0);
  ExpectWrong(Tagged("banana"), "bad_character", 0);
  ExpectRight(Tagged("2*3\n+1"));  // white space of any kind is a space
  ExpectWrong(Tagged("2**3+1"), "syntax_error", 0);
  ExpectWrong(Tagged("3//2+1"), "syntax_error", 0);
  ExpectWrong(Tagged("-1+2*3"), "syntax_error", 0);
  ExpectWrong(Tagged("7 = 2*3+1"), "syntax_error", 0);
  ExpectWrong(Tagged("2*3+1.0"), "bad_character", 0);
  ExpectWrong(Tagged(std::string(201, '(')), "too_long", 0);
  ExpectWrong(Tagged(std::string(51, '(') + "2*3+1" + std::string(51, ')')), "too_deep", 0);
}

TEST(CountdownVerifier, GivesTheFormatPartForAWellFormedWrongAnswer) {
  ExpectWrong(Tagged("7"), "wrong_numbers", kFormat);
  ExpectWrong(Tagged("2*3"), "wrong_numbers", kFormat);
  ExpectWrong(Tagged("2*3+1+1"), "wrong_numbers", kFormat);
  ExpectWrong(Tagged("12*3"), "wrong_numbers", kFormat);
  ExpectWrong(Tagged("2*3+1-1+1"), "wrong_numbers", kFormat);
  ExpectWrong(Tagged("1+2+3"), "wrong_value", kFormat);
  ExpectWrong(Tagged("1+2+3 = 7"), "wrong_value", kFormat);
  ExpectWrong(Tagged("2*3+1 = 8"), "wrong_stated_value", kFormat);
  ExpectWrong(Tagged("2*3+1") + Tagged("1+2+3"), "wrong_value", kFormat);
  ExpectWrong(Tagged("1/(3-2-1)"), "wrong_numbers", kFormat);
}

TEST(CountdownVerifier, SurvivesTheAnswersThatHangOthers) {
  EXPECT_EQ(ScoreAnswer({7, 55, 80}, 12, Tagged("80**55**7")).reason, "syntax_error");
  EXPECT_EQ(ScoreAnswer({9, 9, 9}, 12, Tagged("9**9**9**9")).reason, "syntax_error");
  EXPECT_EQ(ScoreAnswer({2, 2, 5}, 12, Tagged("5/(2-2)")).reason, "division_by_zero");
  EXPECT_EQ(ScoreAnswer({2, 2, 5}, 12, std::string("\0<answer>\xFF</answer>", 19)).reason, "bad_character");
}

TEST(CountdownVerifier, CountsRepeatedNumbers) {
  EXPECT_EQ(ScoreAnswer({5, 5, 2}, 12, Tagged("5+5+2")).total, 1);
  EXPECT_EQ(ScoreAnswer({5, 5, 2}, 9, Tagged("5+2+2")).reason, "wrong_numbers");
  EXPECT_EQ(ScoreAnswer({5, 2}, 12, Tagged("5+5+2")).reason, "wrong_numbers");
}

TEST(CountdownVerifier, UsesFractionsAndValuesBeyond64Bits) {
  EXPECT_EQ(ScoreAnswer({3, 3, 8, 8}, 24, Tagged("8/(3-8/3)")).total, 1);
  const int64_t big = INT64_MAX;
  const std::string text = std::to_string(big);
  EXPECT_EQ(ScoreAnswer({big, big, big, big}, 1, Tagged(text + "*" + text + "/" + text + "/" + text)).total, 1);
  // 2^64 wraps to 0 in 64 bits.
  EXPECT_EQ(ScoreAnswer({4294967296, 4294967296}, 0, Tagged("4294967296*4294967296")).reason, "wrong_value");
  EXPECT_EQ(ScoreAnswer({1, 3}, -2, Tagged("1-3 = -2")).total, 1);
}

TEST(CountdownVerifier, TheFormatPartIsConfigurable) {
  const auto none = CountdownVerifier(0).Score(CountdownKey({{1, 2}, 3}), Tagged("1*2"));
  EXPECT_EQ(none->total, 0);
  const auto some = CountdownVerifier(0.25).Score(CountdownKey({{1, 2}, 3}), Tagged("1*2"));
  EXPECT_EQ(some->total, 0.25);
  EXPECT_EQ(CountdownVerifier(0.25).Score(CountdownKey({{1, 2}, 3}), Tagged("1+2"))->total, 1);
}

TEST(ParseCountdownKey, NamesWhatIsWrong) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "not valid JSON"},
      {"[]", "expected a JSON object"},
      {"{\"target\":1}", "key \"numbers\" is missing"},
      {"{\"numbers\":[1]}", "key \"target\" is missing"},
      {"{\"numbers\":[],\"target\":1}", "1 to 100"},
      {"{\"numbers\":3,\"target\":1}", "1 to 100"},
      {"{\"numbers\":[1.5],\"target\":1}", "numbers[0]: expected a 64-bit integer"},
      {"{\"numbers\":[\"1\"],\"target\":1}", "numbers[0]: expected a 64-bit integer"},
      {"{\"numbers\":[1],\"target\":9223372036854775808}", "target: expected a 64-bit integer"},
      {"{\"numbers\":[1],\"target\":true}", "target: expected a 64-bit integer"},
      {"{\"numbers\":[1],\"target\":1,\"goal\":2}", "unknown key \"goal\""},
      {"{\"numbers\":[1],\"numbers\":[2],\"target\":1}", "twice"},
  };
  for (const auto& [key, message] : cases) {
    const auto reward = CountdownVerifier(kFormat).Score(key, Tagged("1"));
    EXPECT_EQ(reward.status().code(), absl::StatusCode::kInvalidArgument) << key;
    EXPECT_THAT(std::string(reward.status().message()), HasSubstr(message)) << key;
  }
}

}  // namespace
}  // namespace tactus
