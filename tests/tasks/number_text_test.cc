#include "common/tasks/number_text.h"

#include <gtest/gtest.h>

#include <string>

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
  };
  for (const auto& [text, expected] : cases) {
    const auto value = ParseNumber(text);
    ASSERT_TRUE(value.has_value()) << text;
    EXPECT_EQ(*value, expected) << text;
  }
}

TEST(ParseNumber, IsExactForAnyLength) {
  const std::string digits(150, '3');
  EXPECT_EQ(ParseNumber("0." + digits), ParseNumber("0." + digits + "000"));
  EXPECT_NE(ParseNumber("0." + digits), ParseNumber("1/3"));
  EXPECT_EQ(ParseNumber("9007199254740993"), mpq_class("9007199254740993"));  // no double holds it
}

TEST(ParseNumber, RefusesEverythingElse) {
  for (const char* text : {"",          " ",        ".",
                           "-",         "+",        "--1",
                           "1e5",       "0x10",     "1 2",
                           "1,23",      ",123",     "1234,567",
                           "1,2345",    "1.2.3",    "1.,2",
                           "1/0",       "1/2/3",    "/2",
                           "1/",        "1/0.0",    "\\frac{1}{0}",
                           "\\frac{1}", "\\frac12", "\\frac{\\frac{1}{2}}{3}",
                           "\\sqrt{2}", "banana",   "seven",
                           "$",         "%",        "1..",
                           "inf",       "nan",      "5 apples",
                           "\xFF",      "1\xC2\xA0"}) {
    EXPECT_FALSE(ParseNumber(text).has_value()) << text;
  }
  EXPECT_TRUE(ParseNumber(std::string(kMaxNumberBytes, '1')).has_value());
  EXPECT_FALSE(ParseNumber(std::string(kMaxNumberBytes + 1, '1')).has_value());
}

}  // namespace
}  // namespace tactus
