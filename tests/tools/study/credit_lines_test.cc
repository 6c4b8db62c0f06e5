// The lines of a credit study: written, read back, and refused where they are not what one writes.
#include "tools/study/credit_lines.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "absl/strings/str_cat.h"

namespace tactus {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

TruthLine Line(uint64_t row) {
  TruthLine line{.row = row, .reward = 0.1, .right = false};
  line.text = {"3", " plus", "�"};
  line.kinds = {TokenKind::kNumber, TokenKind::kWord, TokenKind::kSpecial};
  line.waad = {0.5, 1.0 / 3, 2};
  line.fai = {0, 1e-300, 0.25};
  line.signals = {{"EARLY", {0, -1, -2}, {1.5, 1, 1}}, {"LATE", {0, 1, 2}, {1, 1, 1.5}}};
  line.positions = {0, 2};
  line.value = {0.25, 0.5};
  line.first = {0.125, -0.4};
  line.second = {0.375, -0.4000000000000001};
  return line;
}

void ExpectSame(const TruthLine& read, const TruthLine& line) {
  EXPECT_EQ(read.row, line.row);
  EXPECT_EQ(read.reward, line.reward);
  EXPECT_EQ(read.right, line.right);
  EXPECT_EQ(read.text, line.text);
  EXPECT_EQ(read.kinds, line.kinds);
  EXPECT_EQ(read.waad, line.waad);
  EXPECT_EQ(read.fai, line.fai);
  EXPECT_EQ(read.positions, line.positions);
  EXPECT_EQ(read.value, line.value);
  EXPECT_EQ(read.first, line.first);
  EXPECT_EQ(read.second, line.second);
  ASSERT_EQ(read.signals.size(), line.signals.size());
  for (size_t s = 0; s < line.signals.size(); ++s) {
    EXPECT_EQ(read.signals[s].name, line.signals[s].name);
    EXPECT_EQ(read.signals[s].score, line.signals[s].score);
    EXPECT_EQ(read.signals[s].gamma, line.signals[s].gamma);
  }
}

TEST(TruthLinesTest, AreReadAsTheyWereWritten) {
  const TruthLine a = Line(7), b = Line(std::numeric_limits<uint64_t>::max());
  const auto lines = ReadTruthLines(absl::StrCat(LineOf(a), "\n", LineOf(b), "\n"), "f");
  ASSERT_TRUE(lines.ok()) << lines.status();
  ASSERT_EQ(lines->size(), 2u);
  ExpectSame((*lines)[0], a);
  ExpectSame((*lines)[1], b);
  EXPECT_TRUE(ReadTruthLines("", "f")->empty());
}

TEST(TruthLinesTest, AreRefusedWithFileLineAndField) {
  const auto error = [](void (*change)(TruthLine&)) {
    TruthLine line = Line(2);
    change(line);
    return std::string(
        ReadTruthLines(absl::StrCat(LineOf(Line(1)), "\n", LineOf(line), "\n"), "r.jsonl").status().message());
  };
  const std::string lengths = "r.jsonl:2: expected lists of one length", order = "positions: expected tokens of the ";
  EXPECT_THAT(error([](TruthLine& line) { line.text.pop_back(); }), HasSubstr(lengths));
  EXPECT_THAT(error([](TruthLine& line) { line.waad.pop_back(); }), HasSubstr(lengths));
  EXPECT_THAT(error([](TruthLine& line) { line.fai.push_back(0); }), HasSubstr(lengths));
  EXPECT_THAT(error([](TruthLine& line) { line.value.pop_back(); }), HasSubstr(lengths));
  EXPECT_THAT(error([](TruthLine& line) { line.second.pop_back(); }), HasSubstr(lengths));
  EXPECT_THAT(error([](TruthLine& line) { line.positions = {0, 3}; }), HasSubstr(order));
  EXPECT_THAT(error([](TruthLine& line) { line.positions = {2, 0}; }), HasSubstr(order));
  EXPECT_THAT(error([](TruthLine& line) { line.positions = {1, 1}; }), HasSubstr(order));
  EXPECT_THAT(error([](TruthLine& line) { line.positions[0] = -1; }), HasSubstr("r.jsonl:2: positions[0]"));
  EXPECT_THAT(error([](TruthLine& line) { line.row = 1; }), HasSubstr("row: expected one that no line before has"));
  EXPECT_THAT(error([](TruthLine& line) { line.signals.pop_back(); }),
              HasSubstr("signals: expected those of the first line"));
  EXPECT_THAT(error([](TruthLine& line) { line.signals[1].name = "OTHER"; }),
              HasSubstr("signals: expected those of the first line"));
  EXPECT_THAT(error([](TruthLine& line) { line.signals[1].gamma.pop_back(); }),
              HasSubstr("signals.LATE: expected a number for each token"));
  EXPECT_THAT(error([](TruthLine& line) { line.reward = std::numeric_limits<double>::quiet_NaN(); }),
              HasSubstr("r.jsonl:2: "));
  EXPECT_THAT(ReadTruthLines("{}\n", "r.jsonl").status().message(), HasSubstr("r.jsonl:1: "));
  EXPECT_THAT(ReadTruthLines("[1]\n", "r.jsonl").status().message(), HasSubstr("r.jsonl:1: "));
  std::string kind = LineOf(Line(1));
  kind.replace(kind.find("\"number\""), 8, "\"figure\"");
  EXPECT_THAT(ReadTruthLines(kind, "r.jsonl").status().message(), HasSubstr("kinds[0]: expected a kind of token"));
}

TEST(TruthLinesTest, AtPositionsKeepsWhatIsThere) {
  const Truth truth = Line(1).AtPositions();
  EXPECT_EQ(truth.tokens, 3);
  EXPECT_FALSE(truth.right);
  EXPECT_THAT(truth.positions, ElementsAre(0, 2));
  EXPECT_THAT(truth.kinds, ElementsAre(TokenKind::kNumber, TokenKind::kSpecial));
  EXPECT_EQ(truth.first, Line(1).first);
  EXPECT_EQ(truth.second, Line(1).second);
  ASSERT_EQ(truth.signals.size(), 2u);
  EXPECT_EQ(truth.signals[0].name, "EARLY");
  EXPECT_THAT(truth.signals[0].score, ElementsAre(0, -2));
  EXPECT_THAT(truth.signals[1].gamma, ElementsAre(1, 1.5));
}

TruthSummary SummaryOf(const std::vector<TruthLine>& lines) {
  std::vector<Truth> truths;
  truths.reserve(lines.size());
  for (const TruthLine& line : lines) truths.push_back(line.AtPositions());
  return SummarizeTruth(truths, *Decimal::ParseShare("0.4", "q"), 1);
}

TEST(TruthJsonTest, HasTheFigures) {
  const TruthSummary summary = SummaryOf({Line(1), Line(2)});
  const nlohmann::ordered_json json = TruthJson(summary), late = json["all"]["signals"][1];
  EXPECT_EQ(json["all"]["responses"], 2);
  EXPECT_EQ(json["all"]["tokens"], 4);
  EXPECT_EQ(late["name"], "LATE");
  EXPECT_EQ(late["amplified_share"], 0.5);
  // A^2 is 3/64 of the first token and 0.16 of the other, which LATE amplifies.
  EXPECT_NEAR(late["mass"]["value"].get<double>(), 0.16 / ((3.0 / 64 + 0.16) / 2), 1e-12);
  EXPECT_NEAR(json["all"]["mean_square"].get<double>(), (3.0 / 64 + 0.16) / 2, 1e-12);
  EXPECT_TRUE(late.contains("rank") && late.contains("rank_given_position") && late.contains("precision"));
  const std::string table = TruthTable(summary);
  EXPECT_THAT(table, HasSubstr("2 responses, 4 tokens probed; mean A^2 0.1034"));
  EXPECT_THAT(table, HasSubstr("LATE                        0.50    1.55 [ 1.55,  1.55]"));
  EXPECT_THAT(table, HasSubstr("\nspecial (2 tokens, mean A^2 0.1600):  LATE 1.00 [1.00, 1.00]\n"));
}

// Of a policy whose answers are all worth the same, no ratio of A^2 is a number.
TEST(TruthJsonTest, WhatHasNoFigureIsNull) {
  TruthLine line = Line(1);
  line.first = line.second = {0, 0};
  const TruthSummary summary = SummaryOf({line});
  const nlohmann::ordered_json signal = TruthJson(summary)["all"]["signals"][0];
  EXPECT_EQ(signal["amplified_share"], 0.5);
  EXPECT_TRUE(signal["mass"].is_null());
  EXPECT_TRUE(signal["mass_permuted"].is_null());
  EXPECT_TRUE(signal["p_value"].is_null());
  EXPECT_THAT(TruthTable(summary), HasSubstr("EARLY                       0.50  none "));
  EXPECT_THAT(TruthTable(summary), Not(HasSubstr("nan")));
  EXPECT_THAT(TruthTable(SummaryOf({})), HasSubstr("0 responses, 0 tokens probed"));
  EXPECT_TRUE(TruthJson(SummaryOf({}))["all"]["signals"].is_null());
}

}  // namespace
}  // namespace tactus
