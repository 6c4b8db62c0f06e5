#include "common/tasks/answer_dress.h"

#include <gtest/gtest.h>

#include <string>

namespace tactus {
namespace {

TEST(Undress, TakesOffWhatMeansNothing) {
  for (const char* text :
       {"B", " B\n", "B.", "**B**", "$B$", "$$B$$", "\\(B\\)", "\\[ B \\]", "\\text{B}", "\\textbf{ B }", "\\mathrm{B}",
        "(B)", "'B'", "\"B\"", "**(B)**.", "$\\text{(B).}$", "\xC2\xA0**B**"}) {
    EXPECT_EQ(Undress(text), "B") << text;
  }
}

TEST(Undress, LeavesTheRest) {
  for (const char* text :
       {"", "(2, 3)", "*B*", "**B", "B**", "\\text{a}\\text{b}", "\\sqrt{2}", "\\text{a", "{B}", "B)"}) {
    EXPECT_EQ(Undress(text), text) << text;
  }
  EXPECT_EQ(Undress("$"), "$");
  EXPECT_EQ(Undress("$$"), "");
  EXPECT_EQ(Undress("***"), "***");
}

TEST(Undress, StopsInTimeInHostileText) {
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "\\text{";
  deep += "x" + std::string(100'000, '}');
  EXPECT_EQ(Undress(deep).size(), deep.size() - kMaxDress * 7);
  EXPECT_EQ(Undress(std::string(1'000'000, '$')).size(), 1'000'000u - kMaxDress * 4);
}

TEST(ConsumeBraces, PairsNestedAndEscapedBraces) {
  const auto inside = [](absl::string_view text) {
    const auto found = ConsumeBraces(&text);
    return found ? std::string(*found) + "|" + std::string(text) : "none";
  };
  EXPECT_EQ(inside("{a}b"), "a|b");
  EXPECT_EQ(inside("{a{b}{c}}d"), "a{b}{c}|d");
  EXPECT_EQ(inside("{a\\}b}c"), "a\\}b|c");
  EXPECT_EQ(inside("{}"), "|");
  for (const char* text : {"", "a", "}", "{", "{a", "{a\\}", "{\\", "{{a}"}) EXPECT_EQ(inside(text), "none") << text;
}

}  // namespace
}  // namespace tactus
