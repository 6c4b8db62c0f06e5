#include "common/tasks/expression.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace tactus {
namespace {

std::string Reason(const std::string& text) {
  const auto parsed = ParseExpression(text);
  return parsed.ok() ? "ok" : std::string(parsed.status().message());
}

mpq_class Value(const std::string& text) {
  const auto parsed = ParseExpression(text);
  EXPECT_TRUE(parsed.ok()) << text << ": " << parsed.status();
  if (!parsed.ok()) return -1;
  EXPECT_TRUE(parsed->value.has_value()) << text;
  return parsed->value.value_or(-1);
}

TEST(ParseExpression, FollowsPrecedenceAndAssociativity) {
  EXPECT_EQ(Value("2+3*4"), 14);
  EXPECT_EQ(Value("(2+3)*4"), 20);
  EXPECT_EQ(Value("20-3-4"), 13);
  EXPECT_EQ(Value("24/4/3"), 2);
  EXPECT_EQ(Value("2*3/4*2"), 3);
  EXPECT_EQ(Value(" ( ( 7 ) ) "), 7);
  EXPECT_EQ(Value("8 \xC3\x97 3 \xC3\xB7 4 \xE2\x88\x92 1"), 5);
}

TEST(ParseExpression, TakesWhiteSpaceOfAnyKindForASpace) {
  for (const char* space :
       {" ", "\n", "\t", "\r\n", "\v", "\f", "\xC2\xA0", "\xE2\x80\x89", "\xE2\x80\xAF", "\xE3\x80\x80"}) {
    const absl::string_view s = space;
    EXPECT_EQ(Value(absl::StrCat(s, "(7", s, "-", s, "3)", s, "*", s, "4", s)), 16) << s;
    EXPECT_EQ(*ParseExpression(absl::StrCat("3*4", s, "=", s, "12"))->stated, 12) << s;
    EXPECT_EQ(Reason(absl::StrCat("1", s, "2+3")), "syntax_error") << s;  // two numbers, as with a space
  }
  EXPECT_EQ(Reason(absl::StrCat("1", std::string(198, '\n'), "+2")), "too_long");  // it counts
  EXPECT_EQ(Reason(absl::StrCat("1", std::string(197, '\n'), "+2")), "ok");
}

TEST(ParseExpression, IsExact) {
  EXPECT_EQ(Value("1/3*3"), 1);
  EXPECT_EQ(Value("8/(3-8/3)"), 24);
  EXPECT_EQ(Value("1/49*49"), 1);  // not so in floating point
  EXPECT_EQ(Value("3-5"), -2);
}

TEST(ParseExpression, HoldsValuesBeyond64And128Bits) {
  const std::string big(48, '9');
  EXPECT_EQ(Value(big + "*" + big + "-" + big + "*" + big + "+7"), 7);
  EXPECT_EQ(Value("9223372036854775807+1-9223372036854775807"), 1);
  EXPECT_EQ(Value("18446744073709551616/18446744073709551615*18446744073709551615-18446744073709551616"), 0);
}

TEST(ParseExpression, DivisionByZeroHasNoValueAndStillParses) {
  for (const char* text : {"1/0", "1/(2-2)", "0/0", "1+2*(3/(4-4))-5", "1/(1/0)", "0*(1/0)"}) {
    const auto parsed = ParseExpression(text);
    ASSERT_TRUE(parsed.ok()) << text;
    EXPECT_FALSE(parsed->value.has_value()) << text;
  }
}

TEST(ParseExpression, ReadsOneTrailingEquality) {
  EXPECT_EQ(*ParseExpression("2*3+1 = 7")->stated, 7);
  EXPECT_EQ(*ParseExpression("3-5=-2")->stated, -2);
  EXPECT_EQ(*ParseExpression("3-5 = \xE2\x88\x92 2")->stated, -2);
  EXPECT_EQ(ParseExpression("2*3+1=7")->numbers.size(), 3u);
  EXPECT_FALSE(ParseExpression("2*3+1")->stated.has_value());
  for (const char* text : {"1=", "=1", "1=1=1", "1=(1)", "1=1+0", "1==1", "7 = 2*3+1", "1=+1", "1=--1"}) {
    EXPECT_EQ(Reason(text), "syntax_error") << text;
  }
}

TEST(ParseExpression, RefusesWhatTheRulesDoNotAllow) {
  for (const char* text :
       {"",    " ",     "()", "1+", "+1",   "-1",   "2*-3", "(-1)",   "1--1", "2**3", "7//2", "80**55**7",
        "1 2", "1 2+3", "(1", "1)", "((1)", "(1))", "1(2)", "(1)(2)", "*",    "1+*2", ")(",   "1 + ( )"}) {
    EXPECT_EQ(Reason(text), "syntax_error") << text;
  }
  for (const char* text : {"banana",
                           "1.5",
                           "1,000",
                           "2^3",
                           "1e3",
                           "0x1",
                           "1_0",
                           "5!",
                           "1+2;",
                           "a",
                           "1\xE2\x80\x8B+2",
                           "\xEF\xBC\x91",
                           "1\xC3",
                           "\xFF",
                           "\xE2\x88",
                           "1 \xE2\x80\x93 1",
                           "2%1",
                           "$1$",
                           "1+2 = x",
                           "__import__('os')"}) {
    EXPECT_EQ(Reason(text), "bad_character") << text;
  }
  EXPECT_EQ(Reason(std::string("1\0+2", 4)), "bad_character");
}

TEST(ParseExpression, LimitsTheLengthInCharacters) {
  EXPECT_EQ(Reason(std::string(200, '1')), "ok");
  EXPECT_EQ(Reason(std::string(201, '1')), "too_long");
  std::string minus = "1";
  while (minus.size() < 1 + 4 * 99)
    minus +=
        "\xE2\x88\x92"
        "1";  // 199 characters in 397 bytes
  EXPECT_EQ(Reason(minus), "ok");
  EXPECT_EQ(Reason(minus + "+1"), "too_long");
  EXPECT_EQ(Reason(std::string(10'000'000, '(')), "too_long");
  EXPECT_EQ(Reason(std::string(10'000'000, '\x80')), "too_long");
}

TEST(ParseExpression, LimitsTheDepth) {
  const auto nested = [](size_t depth) { return std::string(depth, '(') + "1" + std::string(depth, ')'); };
  EXPECT_EQ(Reason(nested(50)), "ok");
  EXPECT_EQ(Reason(nested(51)), "too_deep");
  EXPECT_EQ(Reason(std::string(200, '(')), "too_deep");
  std::string many = "(1)";  // depth counts what is open at once, not all parentheses
  while (many.size() < 190) many += "+(1)";
  EXPECT_EQ(Reason(many), "ok");
}

}  // namespace
}  // namespace tactus
