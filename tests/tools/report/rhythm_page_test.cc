#include "tools/report/rhythm_page.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/tools/report/rhythm_fixture.h"
#include "tools/report/html_page.h"

namespace tactus {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

int Count(const std::string& text, const std::string& part) {
  int count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

// The numbers of the answer `index` on the page.
nlohmann::json DataOf(const std::string& html, int index = 0) {
  const std::string open = "<script type=\"application/json\">";
  size_t at = 0;
  for (int i = 0; i <= index; ++i) at = html.find(open, at) + open.size();
  return nlohmann::json::parse(html.substr(at, html.find("</script>", at) - at));
}

TEST(RhythmPageTest, ThirtyTwoAnswersOf400TokensStayUnderFiveMegabytes) {
  std::vector<RhythmAnswer> answers;
  for (int i = 1; i <= 32; ++i) answers.push_back(MadeUpAnswer(i, 400));
  ASSERT_EQ(answers[0].images[1].width, 160) << "as large as images get";
  const std::string html = RhythmPageHtml("all", answers);
  EXPECT_LE(html.size(), 5'000'000U);
  EXPECT_EQ(Count(html, "<article "), 32);
  RecordProperty("bytes", static_cast<int>(html.size()));
}

TEST(RhythmPageTest, NeedsNothingElse) {
  const std::string html = RhythmPageHtml("a page", {MadeUpAnswer(1, 60)});
  for (const char* remote : {"http:", "https:", "//www", "src=", "@import", "url(", "fetch(", "import("}) {
    EXPECT_THAT(html, Not(HasSubstr(remote)));
  }
}

TEST(RhythmPageTest, TheNumbersOnThePageAreTheAnswers) {
  const RhythmAnswer answer = MadeUpAnswer(3, 120);
  const nlohmann::json data = DataOf(RhythmPageHtml("p", {answer}));
  const std::pair<const char*, const std::vector<double>*> lists[] = {
      {"waad", &answer.waad},       {"delta", &answer.delta},      {"fai", &answer.fai},
      {"entropy", &answer.entropy}, {"logprob", &answer.logprobs}, {"span", &answer.heads.span}};
  for (const auto& [key, values] : lists) {
    ASSERT_EQ(data[key].size(), values->size()) << key;
    for (size_t i = 0; i < values->size(); ++i) {
      EXPECT_NEAR(data[key][i].get<double>(), (*values)[i], 5e-4 * std::fabs((*values)[i])) << key << " " << i;
    }
  }
  EXPECT_EQ(data["credits"][1][0], "LOCAL_CHUNK");
  EXPECT_EQ(data["credits"][1][1].get<std::vector<double>>(), answer.credits[1].gamma);
  EXPECT_EQ(data["local"].get<std::vector<int32_t>>(), answer.heads.local);
  EXPECT_EQ(data["lookers"][5][0], answer.lookers[5][0].token);
  EXPECT_NEAR(data["lookers"][5][1].get<float>(), answer.lookers[5][0].weight, 5e-3 * answer.lookers[5][0].weight);
  EXPECT_EQ(data["images"][0]["width"], 96);
  EXPECT_EQ(data["images"][0]["pixels"].get<std::string>().size(), 96U * 96 / 3 * 4);
}

TEST(RhythmPageTest, HasTheFlowsSteps) {
  RhythmAnswer answer;
  answer.tokens = {"a", "b", "c"};
  answer.flow = {0.75, 0.25, 1};
  answer.arcs = {{-1, 0, 0.75}, {0, 2, 0.5}, {2, 1, 1}, {0, 3, 1}, {-2, 0, 1}};  // three are no steps of this answer
  const nlohmann::json data = DataOf(RhythmPageHtml("p", {answer}));
  EXPECT_EQ(data["flow"].dump(), "[0.75,0.25,1]");
  EXPECT_EQ(data["arcs"].dump(), "[[-1,0,0.75],[0,2,0.5]]");
  answer.flow.clear();
  EXPECT_FALSE(DataOf(RhythmPageHtml("p", {answer})).contains("arcs"));
}

TEST(RhythmPageTest, HasWhatTokensWereWorth) {
  RhythmAnswer answer;
  answer.tokens = {"a", "b", "c"};
  answer.advantage = {0.5, std::nan(""), -0.25};
  EXPECT_EQ(DataOf(RhythmPageHtml("p", {answer}))["advantage"].dump(), "[0.5,null,-0.25]");
}

TEST(RhythmPageTest, TokensCarryTheFirstStrategysColour) {
  RhythmAnswer answer{.title = "t", .tokens = {"a", "b", "c", "\n", ""}};
  answer.credits = {{"X", {1.5, 0.8, 1.02, 1.5, 1}}, {"Y", {1, 1, 1, 1, 1}}};
  const std::string html = RhythmSection({answer});
  EXPECT_THAT(html, HasSubstr("<span class=\"h5\">a</span><span class=\"c2\">b</span><span>c</span>"
                              "<span class=\"h5 nl\">\n</span><span class=\"none\"></span></div>"));
  EXPECT_THAT(html, HasSubstr("<option>X</option><option>Y</option>"));
}

TEST(RhythmPageTest, WhatIsMissingIsNotThere) {
  RhythmAnswer answer{.title = "t", .tokens = {"a", "b"}, .waad = {1, 2, 3}};  // of another length
  answer.heads = {.layers = {1, 2}, .span = {1, 2, 3}};                        // not a whole number per layer
  answer.images.resize(1);
  answer.lookers = {{{.token = 7, .weight = 1}, {.token = -1, .weight = 1}}, {}};
  const std::string html = RhythmPageHtml("p", {answer});
  EXPECT_EQ(DataOf(html).dump(), R"({"credits":[],"images":[],"lookers":[[],[]],"window":10})");
  EXPECT_THAT(RhythmSection({{.title = "t", .tokens = {"a"}, .credits = {{"", {1}}}}}), Not(HasSubstr("<select>")));
  EXPECT_THAT(RhythmSection({{.title = "t", .tokens = {"a"}}}), Not(HasSubstr("WAAD")));
  EXPECT_EQ(Count(RhythmPageHtml("p", {}), "<article"), 0);
}

TEST(RhythmPageTest, GapsAreNull) {
  RhythmAnswer answer{.title = "t", .tokens = {"a", "b", "c"}, .fai = {0.5, NAN, INFINITY}};
  EXPECT_EQ(DataOf(RhythmSection({answer}))["fai"].dump(), "[0.5,null,null]");
}

TEST(RhythmPageTest, NoTextIsMarkup) {
  const std::string evil = "</script><img src=x onerror=alert(1)>\"'&<!--";
  RhythmAnswer answer = MadeUpAnswer(1, 3);
  answer.title = answer.verdict = answer.prompt = evil;
  answer.tokens = {evil, "]]>", "<script>"};
  for (TokenCredit& credit : answer.credits) credit.strategy += evil;
  for (AttentionImage& image : answer.images) image.name = evil;
  const std::string html = RhythmPageHtml(evil, {answer});
  EXPECT_EQ(Count(html, "</script>"), 2) << "the data's and the page's own";
  EXPECT_EQ(Count(html, "<script"), 2);
  EXPECT_THAT(html, Not(HasSubstr("<img")));
  EXPECT_THAT(html, Not(HasSubstr("<!--")));
  EXPECT_EQ(DataOf(html)["images"][0]["name"], evil);
}

TEST(HtmlPageTest, ADurationUsesTwoUnitsAtMost) {
  EXPECT_EQ(DurationText(-3), "0 s");
  EXPECT_EQ(DurationText(41.4), "41 s");
  EXPECT_EQ(DurationText(190), "3 min 10 s");
  EXPECT_EQ(DurationText(7500), "2 h 05 min");
}

TEST(HtmlPageTest, HiddenCharactersAreShown) {
  EXPECT_EQ(VisibleText(std::string("a\0b\x1B\x7F\r\n\t", 8)), "a␀b␛␡␍\n\t");
  EXPECT_EQ(VisibleText("\u202Eabc\u2066x\u200F\u0085"), "\uFFFDabc\uFFFDx\uFFFD\uFFFD");
  EXPECT_EQ(VisibleText("é – 漢字 😀 \u200D \u2070 \u2026"), "é – 漢字 😀 \u200D \u2070 \u2026");
}

// Two prompt tokens, three response tokens.
const std::vector<float> kAttention = {
    0.9F, 0.0F, 0.1F, 0.0F, 0.0F,  // row 0
    0.5F, 0.1F, 0.3F, 0.1F, 0.0F,  // row 1
    0.2F, 0.0F, 0.4F, 0.2F, 0.2F,  // row 2
};

TEST(AttentionViewTest, LookersAreTheHeaviestLaterTokens) {
  EXPECT_THAT(TopLookers(kAttention, 3, 2, 1),
              ElementsAre(ElementsAre(Looker{2, 0.4F}, Looker{1, 0.3F}), ElementsAre(Looker{2, 0.2F}), IsEmpty()));
  EXPECT_THAT(TopLookers(kAttention, 3, 2, 2), ElementsAre(ElementsAre(Looker{2, 0.4F}), IsEmpty(), IsEmpty()));
  EXPECT_THAT(TopLookers(kAttention, 3, 2, 0, 1),
              ElementsAre(ElementsAre(Looker{2, 0.4F}), ElementsAre(Looker{2, 0.2F}), ElementsAre(Looker{2, 0.2F})));
  const std::vector<float> equal = {1, 0, 0, 0.5F, 0.5F, 0, 0.5F, 0.25F, 0.25F};
  EXPECT_THAT(TopLookers(equal, 3, 0, 1, 3)[0], ElementsAre(Looker{1, 0.5F}, Looker{2, 0.5F})) << "ties to the earlier";
}

TEST(AttentionViewTest, ASmallMatrixIsItsOwnImage) {
  const AttentionImage image = MakeAttentionImage("h", kAttention, 3, 2, AttentionCrop::kWhole);
  EXPECT_EQ(image.width, 5);
  EXPECT_EQ(image.height, 3);
  // Of the nine weights after key 0 the 99th percentile is the eighth, 0.3; key 0 itself is only cut off.
  EXPECT_EQ(image.values[2], std::lround(255 * std::sqrt(0.1F / 0.3F)));
  EXPECT_EQ(image.values[7], 255);
  EXPECT_EQ(image.values[12], 255);
  EXPECT_EQ(image.values[0], 255);
  EXPECT_EQ(image.values[3], 0);
  const AttentionImage diagonal = MakeAttentionImage("h", kAttention, 3, 2, AttentionCrop::kDiagonal);
  EXPECT_EQ(diagonal.first_key, 2);
  EXPECT_EQ(diagonal.width, 3);
  EXPECT_EQ(diagonal.values[1], 0);
  EXPECT_GT(diagonal.values[6], diagonal.values[7]);
}

TEST(AttentionViewTest, AStripeOneTokenWideSurvivesDownSampling) {
  constexpr int64_t kTokens = 500, kPrompt = 100, kStripe = 250;
  std::vector<float> attention(kTokens * (kTokens + kPrompt), 0.0F);
  for (int64_t t = 0; t < kTokens; ++t) {
    attention[static_cast<size_t>(t * 600)] = 0.9F;
    if (t >= kStripe) attention[static_cast<size_t>(t * 600 + kPrompt + kStripe)] = 0.1F;
  }
  const AttentionImage image = MakeAttentionImage("h", attention, kTokens, kPrompt, AttentionCrop::kWhole);
  EXPECT_EQ(image.width, 160);
  EXPECT_EQ(image.height, 133) << "the same scale both ways";
  const int x = (kPrompt + kStripe) * 160 / 600, y = 132;
  EXPECT_EQ(image.values[static_cast<size_t>(y * 160 + x)], 255);
  EXPECT_EQ(image.values[static_cast<size_t>(y * 160 + x + 1)], 0);
  EXPECT_EQ(image.values[static_cast<size_t>(10 * 160 + x)], 0) << "before the token";
}

TEST(AttentionViewTest, AnEmptyHeadIsABlackImage) {
  const AttentionImage image = MakeAttentionImage("h", std::vector<float>(4, 0.0F), 2, 0, AttentionCrop::kWhole);
  EXPECT_THAT(image.values, ElementsAre(0, 0, 0, 0));
  EXPECT_THAT(MakeAttentionImage("h", std::vector<float>{1.0F}, 1, 0, AttentionCrop::kDiagonal).values, ElementsAre(0));
}

}  // namespace
}  // namespace tactus
