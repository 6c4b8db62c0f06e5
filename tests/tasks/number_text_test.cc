#include "common/tasks/number_text.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace tactus {
namespace {

TEST(ParseNumber, ReadsWhatPeopleWrite) {
  const std::pair<const char*, mpq_class> cases[] = {
      {"42", 42},
      {" -7 ", -7},
      {"+7", 7},
      {"\xE2\x88\x92"
       "7",
       -7},
      {"3.50", mpq_class(7, 2)},
      {".5", mpq_class(1, 2)},
      {"-0.125", mpq_class(-1, 8)},
      {"1,234", 1234},
      {"1,234,567.25", mpq_class(4938269, 4)},
      {"3/4", mpq_class(3, 4)},
      {"-6 / 8", mpq_class(-3, 4)},
      {"1/-2", mpq_class(-1, 2)},
      {"0.5/2", mpq_class(1, 4)},
      {"\\frac{3}{4}", mpq_class(3, 4)},
      {"-\\dfrac{ 6 }{8}", mpq_class(-3, 4)},
      {"\\tfrac{1}{-2}", mpq_class(-1, 2)},
      {"$18", 18},
      {"-$18.00", -18},
      {"$1,000.", 1000},
      {"50%", 50},
      {"007", 7},
      {"0.1", mpq_class(1, 10)},
      {"12,5", mpq_class(25, 2)},
      {"1,23", mpq_class(123, 100)},
      {"0,125", mpq_class(1, 8)},
      {"9{,}500", 9500},
      {"1\\,234\\,567.5", mpq_class(2469135, 2)},
      {"9 500", 9500},
      {"1\xC2\xA0"
       "000\xC2\xA0",
       1000},
      {"\\frac12", mpq_class(1, 2)},
      {"\\frac 3{10}", mpq_class(3, 10)},
      {"\\frac{\\frac{1}{2}}{3}", mpq_class(1, 6)},
      {"{1 \\over 2}", mpq_class(1, 2)},
      {"-\\left(\\frac{1}{2}\\right)", mpq_class(-1, 2)},
      {"-2\\frac{1}{2}", mpq_class(-5, 2)},
      {"1.5 \\times 10^{3}", 1500},
      {"-2 \xC3\x97 10^-2", mpq_class(-1, 50)},
      {"10^3", 1000},
      {"18\\%", 18},
      {"18 percent", 18},
      {"\\$18\\text{ dollars}", 18},
      {"$x = 18$", 18},
      {"2+3=5", 5},
      {"x \\approx 3.14", mpq_class(157, 50)},
      {"5 apples", 5},
      {"(18 \\text{ m}).", 18},
      {"[3/4]", mpq_class(3, 4)},
      {"'18'", 18},
      {"18\\ ", 18},
      {"10^\\circ", 10},
      {"18\\text{ m}/\\text{s}^2", 18},
      {"**18** km/h.", 18},
  };
  for (const auto& [text, expected] : cases) {
    const auto value = ParseNumber(text);
    ASSERT_TRUE(value.has_value()) << text;
    EXPECT_EQ(value->value, expected) << text;
  }
}

TEST(ParseNumber, IsExactForAnyLength) {
  const std::string digits(150, '3');
  EXPECT_EQ(ParseNumber("0." + digits)->value, ParseNumber("0." + digits + "000")->value);
  EXPECT_NE(ParseNumber("0." + digits)->value, ParseNumber("1/3")->value);
  EXPECT_EQ(ParseNumber("9007199254740993")->value, mpq_class("9007199254740993"));  // no double holds it
}

constexpr absl::string_view kNoNumbers =
    R"(;.;-;+;--1;1e5;0x10;1 2;,123;1,2345;1,234,56;1.2.3;1.,2;1/0;1/2/3;/2;1/;1/0.0;
\frac{1}{0};\frac{1};\frac-12;\frac{1}{50\%};\sqrt{2};\sqrt4;banana;seven;$;%;inf;nan;(1;1);{1;\text{1;2+3;2*3;2\cdot3;
2^{10};5!;|5|;1-2;1, 2;1 or 2;18 million;18\text{ million};2 pi;2\pi;2x;2 x;x < 5;x >= 5;x != 5;\neq 5;5 feet 3;5\text{ or 6};
18%%;10^;10^{};10^{999};1 \times 10^{1000000000};2 \times 10;\overline{3};0.\overline{3})";

TEST(ParseNumber, RefusesEverythingElse) {
  for (const absl::string_view text : absl::StrSplit(kNoNumbers, ';')) {
    EXPECT_FALSE(ParseNumber(text).has_value()) << text;
  }
  EXPECT_FALSE(ParseNumber("\xFF").has_value());
  EXPECT_TRUE(ParseNumber(std::string(kMaxNumberBytes, '1')).has_value());
  EXPECT_FALSE(ParseNumber(std::string(kMaxNumberBytes + 1, '1')).has_value());
  EXPECT_FALSE(ParseNumber(std::string(kMaxNumberBytes, '(')).has_value());
  EXPECT_FALSE(ParseNumber(std::string(kMaxNumberBytes, '{')).has_value());
}

bool Same(const char* a, const char* b) { return SameNumber(ParseNumber(a).value(), ParseNumber(b).value()); }

TEST(SameNumber, ComparesExactlyButForDecimalFractions) {
  EXPECT_TRUE(Same("1/2", "\\frac{2}{4}"));
  EXPECT_TRUE(Same("18.00", "18"));
  EXPECT_TRUE(Same("1/3", "0.333333"));
  EXPECT_TRUE(Same("1/3", "0.3333333333"));
  EXPECT_TRUE(Same("-2/3", "-0.666667"));
  EXPECT_FALSE(Same("1/3", "0.33333"));
  EXPECT_FALSE(Same("-2/3", "0.666667"));
  EXPECT_FALSE(Same("18", "18.0000001"));
  EXPECT_FALSE(Same("1/3", "333333/1000000"));
  EXPECT_FALSE(Same("9007199254740993", "9007199254740992"));
}

TEST(SameNumber, ReadsPerCentAsItStandsAndAsAHundredth) {
  EXPECT_TRUE(Same("50", "50%"));
  EXPECT_TRUE(Same("1/2", "50\\%"));
  EXPECT_TRUE(Same("12.5%", "1/8"));
  EXPECT_TRUE(Same("1/3", "33.3333%"));
  EXPECT_FALSE(Same("1/3", "33%"));
  EXPECT_FALSE(Same("50", "0.5"));
}

}  // namespace
}  // namespace tactus
