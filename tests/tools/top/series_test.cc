#include "tools/top/series.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace tactus::top {
namespace {

using ::testing::HasSubstr;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

std::vector<Sample> Parsed(absl::string_view text) {
  absl::StatusOr<std::vector<Sample>> samples = ParseExposition(text);
  EXPECT_TRUE(samples.ok()) << samples.status();
  return samples.ok() ? *std::move(samples) : std::vector<Sample>{};
}

Panel RateOf(absl::string_view metric, absl::string_view by = "") {
  return {.id = "x", .group = "g", .title = "t", .over = {.kind = Term::Kind::kRate, .metric = metric}, .by = by};
}

TEST(ParseExpositionTest, ReadsNamesLabelsAndValues) {
  const std::vector<Sample> samples = Parsed(
      "# HELP a Text.\n# TYPE a gauge\na 1.5\n\nb{x=\"1\",y=\"q\\\"\\\\\\n}\"} 2e3 1700000000000\nc{le=\"+Inf\"} "
      "+Inf\nd NaN\n");
  ASSERT_EQ(samples.size(), 4u);
  EXPECT_EQ(samples[0].metric, "a");
  EXPECT_EQ(samples[0].value, 1.5);
  EXPECT_EQ(samples[1].labels.at("y"), "q\"\\\n}");
  EXPECT_EQ(samples[1].value, 2000);
  EXPECT_TRUE(std::isinf(samples[2].value));
  EXPECT_TRUE(std::isnan(samples[3].value));
}

TEST(ParseExpositionTest, RefusesWhatIsNoExposition) {
  for (const char* text : {"a\n", "a{x=\"1\" 2\n", "a{x=1} 2\n", "a b\n", "{x=\"1\"} 2\n", "<html>\n", "a{x=\"1"}) {
    const absl::Status status = ParseExposition(text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr("line 1 is no sample"));
  }
}

TEST(SeriesWindowTest, RatesAreIncreasesOverTheTimeSeenAndSurviveRestarts) {
  SeriesWindow window(60);
  EXPECT_TRUE(window.Evaluate(RateOf("c")).empty());
  window.Add(100, Parsed("c{i=\"a\"} 10\nc{i=\"b\"} 5\n"));
  EXPECT_TRUE(window.Evaluate(RateOf("c")).empty());
  window.Add(110, Parsed("c{i=\"a\"} 40\nc{i=\"b\"} 5\n"));
  EXPECT_THAT(window.Evaluate(RateOf("c", "i")), UnorderedElementsAre(Pair("a", 3), Pair("b", 0)));
  window.Add(120, Parsed("c{i=\"a\"} 20\nc{i=\"b\"} 15\n"));  // a began anew and has counted 20 since
  EXPECT_THAT(window.Evaluate(RateOf("c", "i")), UnorderedElementsAre(Pair("a", 50 / 20.0), Pair("b", 0.5)));
  EXPECT_THAT(window.Evaluate(RateOf("c")), UnorderedElementsAre(Pair("", 3)));
}

TEST(SeriesWindowTest, ForgetsWhatIsOlderThanTheWindow) {
  SeriesWindow window(15);
  window.Add(0, Parsed("c 0\n"));
  window.Add(10, Parsed("c 1000\n"));
  window.Add(20, Parsed("c 1010\n"));
  EXPECT_THAT(window.Evaluate(RateOf("c")), UnorderedElementsAre(Pair("", 1)));
}

TEST(SeriesWindowTest, QuantilesInterpolateInsideABucketAsPrometheusDoes) {
  SeriesWindow window(60);
  window.Add(0, Parsed("h_bucket{le=\"1\"} 0\nh_bucket{le=\"2\"} 0\nh_bucket{le=\"4\"} 0\nh_bucket{le=\"+Inf\"} 0\n"));
  window.Add(
      10, Parsed("h_bucket{le=\"1\"} 10\nh_bucket{le=\"2\"} 20\nh_bucket{le=\"4\"} 80\nh_bucket{le=\"+Inf\"} 100\n"));
  const auto quantile = [&](double q) {
    return window
        .Evaluate({.id = "x",
                   .group = "g",
                   .title = "t",
                   .over = {.kind = Term::Kind::kQuantile, .metric = "h", .quantile = q}})
        .at("");
  };
  EXPECT_DOUBLE_EQ(quantile(0.05), 0.5);  // half way through the first bucket of 10
  EXPECT_DOUBLE_EQ(quantile(0.5), 3);     // 30 of the 60 in (2, 4]
  EXPECT_DOUBLE_EQ(quantile(0.95), 4);    // beyond the last bound
}

TEST(SeriesWindowTest, AgesCountFromTheLastTimeAndNeverFromZero) {
  const Panel panel = {.id = "x",
                       .group = "g",
                       .title = "t",
                       .over = {.kind = Term::Kind::kAge, .metric = "at", .fold = Term::Fold::kMax}};
  SeriesWindow window(60);
  window.Add(1000, Parsed("at 0\n"));
  EXPECT_TRUE(window.Evaluate(panel).empty());
  window.Add(1010, Parsed("at{r=\"a\"} 990\nat{r=\"b\"} 1003\n"));
  EXPECT_THAT(window.Evaluate(panel), UnorderedElementsAre(Pair("", 7)));
}

TEST(SeriesWindowTest, DividesByOneNumberAndHasNoDataWithoutIt) {
  const Panel panel = {.id = "x",
                       .group = "g",
                       .title = "t",
                       .over = {.kind = Term::Kind::kRate, .metric = "c"},
                       .under = {.kind = Term::Kind::kValue, .metric = "n"},
                       .by = "k",
                       .scale = 3};
  SeriesWindow window(60);
  window.Add(0, Parsed("c{k=\"a\"} 0\nc{k=\"b\"} 0\n"));
  window.Add(10, Parsed("c{k=\"a\"} 10\nc{k=\"b\"} 20\n"));
  EXPECT_TRUE(window.Evaluate(panel).empty());
  window.Add(20, Parsed("c{k=\"a\"} 20\nc{k=\"b\"} 40\nn 2\n"));
  EXPECT_THAT(window.Evaluate(panel), UnorderedElementsAre(Pair("a", 1.5), Pair("b", 3)));
}

}  // namespace
}  // namespace tactus::top
