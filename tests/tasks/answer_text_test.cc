#include "common/tasks/answer_text.h"

#include <gtest/gtest.h>

#include <string>

namespace tactus {
namespace {

std::string Tag(const std::string& text) {
  const auto found = LastAnswerTag(text);
  return found ? std::string(found->text) : "none";
}

std::string Boxed(const std::string& text) {
  const auto found = LastBoxed(text);
  return found ? std::string(found->text) : "none";
}

TEST(LastAnswerTag, TakesTheLastCompletePair) {
  EXPECT_EQ(Tag("<answer>1+2</answer>"), "1+2");
  EXPECT_EQ(Tag("<answer>1</answer> then <answer>2</answer> done"), "2");
  EXPECT_EQ(Tag("<answer>1</answer> then <answer>2"), "1");
  EXPECT_EQ(Tag("<answer>1</answer> then </answer>"), "1");
  EXPECT_EQ(Tag("<answer>1</answer>2</answer>"), "1");
  EXPECT_EQ(Tag("</answer><answer>1</answer><answer>"), "1");
  EXPECT_EQ(Tag("<answer>1<answer>2</answer>"), "2");
  EXPECT_EQ(Tag("<answer>1<answer>2</answer>3</answer>"), "2");
  EXPECT_EQ(Tag("<answer>1</answer><answer></answer>"), "");
}

TEST(LastAnswerTag, TrimsWhiteSpaceAtTheEndsOnly) {
  EXPECT_EQ(Tag("<answer>\r\n\t 1 + 2 \n</answer>\n"), "1 + 2");
  EXPECT_EQ(Tag("<answer> \n </answer>"), "");
}

TEST(LastAnswerTag, FindsNothingWithoutAPair) {
  for (const char* text : {"", "1+2", "<answer>", "</answer>", "</answer><answer>", "<answer>1+2", "<Answer>1</Answer>",
                           "< answer>1</answer>", "<answer>1</answer", "<<answer>"}) {
    EXPECT_EQ(Tag(text), "none") << text;
  }
}

TEST(LastAnswerTag, IsLinearInHostileText) {
  std::string text;
  for (int i = 0; i < 200'000; ++i) text += "<answer>";
  EXPECT_EQ(Tag(text), "none");
  EXPECT_EQ(Tag(text + "7</answer>"), "7");
  EXPECT_EQ(Tag(std::string(5'000'000, '<')), "none");
}

TEST(LastBoxed, BalancesBraces) {
  EXPECT_EQ(Boxed("so \\boxed{42}."), "42");
  EXPECT_EQ(Boxed("\\boxed{ \\frac{1}{2} }"), "\\frac{1}{2}");
  EXPECT_EQ(Boxed("\\boxed{1} and \\boxed{2}"), "2");
  EXPECT_EQ(Boxed("\\boxed{1} and \\boxed{2"), "1");
  EXPECT_EQ(Boxed("\\boxed{a\\}b}"), "a\\}b");
  EXPECT_EQ(Boxed("\\boxed{\\boxed{3}}"), "\\boxed{3}");
  EXPECT_EQ(Boxed("{{{ \\boxed{5}"), "5");
  EXPECT_EQ(Boxed("}}} \\boxed{5}"), "5");
}

TEST(LastBoxed, FindsNothingWithoutABox) {
  for (const char* text : {"", "boxed{1}", "\\boxed", "\\boxed{", "\\boxed{1", "\\boxed{1\\}", "\\\\boxed{1}", "\\"}) {
    EXPECT_EQ(Boxed(text), "none") << text;
  }
}

TEST(LastBoxed, IsLinearInHostileText) {
  std::string text;
  for (int i = 0; i < 200'000; ++i) text += "\\boxed{";
  EXPECT_EQ(Boxed(text), "none");
}

TEST(LastHashes, TakesTheRestOfTheLine) {
  EXPECT_EQ(LastHashes("work\n#### 1,234 \nmore")->text, "1,234");
  EXPECT_EQ(LastHashes("#### 1\n#### 2")->text, "2");
  EXPECT_EQ(LastHashes("####")->text, "");
  EXPECT_EQ(LastHashes("#### 1\n#### Note\n")->text, "Note");
  EXPECT_FALSE(LastHashes("### 1").has_value());
  EXPECT_FALSE(LastHashes("##### 1").has_value());
}

TEST(LastHashes, TakesNoHeading) {
  EXPECT_FALSE(LastHashes("#### Step 1: add\n1 + 1 = 2").has_value());
  EXPECT_EQ(LastHashes("#### 18\n\n#### Check\nIt holds.")->text, "18");
  EXPECT_EQ(LastHashes("#### a #### 18 \nmore")->text, "18");
}

TEST(LastHashes, IsLinearInHostileText) {
  std::string text;
  for (int i = 0; i < 200'000; ++i) text += "#### ";
  EXPECT_EQ(LastHashes(text)->text, "");
  EXPECT_FALSE(LastHashes(text + std::string(1'000'000, ' ') + "x\nx").has_value());
  EXPECT_FALSE(LastHashes(std::string(5'000'000, '#')).has_value());
}

TEST(LastMarkedAnswer, TakesTheLatestMark) {
  EXPECT_EQ(LastMarkedAnswer("\\boxed{1} #### 2")->text, "2");
  EXPECT_EQ(LastMarkedAnswer("#### 2\nso \\boxed{1}")->text, "1");
  EXPECT_EQ(LastMarkedAnswer("#### 2\n<answer>3</answer>")->text, "3");
  EXPECT_EQ(LastMarkedAnswer("<answer>\\boxed{4}</answer>")->text, "\\boxed{4}");
  EXPECT_FALSE(LastMarkedAnswer("just 7").has_value());
}

TEST(LastMarkedAnswer, TakesNoHeadingBeforeAMark) {
  EXPECT_EQ(LastMarkedAnswer("\\boxed{1}\n#### Why\nBecause.")->text, "1");
  EXPECT_EQ(LastMarkedAnswer("<answer>1</answer>\n#### Done")->text, "1");
  EXPECT_EQ(LastMarkedAnswer("\\boxed{Rome} no\n#### 2")->text, "2");
  EXPECT_EQ(LastMarkedAnswer("#### Step 1\nRome\n#### Paris\n")->text, "Paris");
}

}  // namespace
}  // namespace tactus
