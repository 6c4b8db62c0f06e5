// Opens pages in headless Chromium and asks them what was drawn. Skipped where there is no Chromium.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/tools/report/browser.h"
#include "tests/tools/report/rhythm_fixture.h"
#include "tools/report/html_page.h"
#include "tools/report/report.h"
#include "tools/report/rhythm_page.h"

namespace tactus {
namespace {

using Json = nlohmann::json;

constexpr int kTokens = 150;

// What it finds becomes the test's.
constexpr char kProbe[] = R"js(
const where = () => ({answer: document.activeElement.closest('.answer')?.id, token: document.activeElement.index, label: document.activeElement.getAttribute('aria-label')});
const tip = () => { const t = document.querySelector('.tip'); return t.hidden ? null : all('dt,dd', t).map(e => e.textContent).join(' '); };
found.keys = {};

found.answers = all('.answer').map(a => ({
  tokens: all('.tokens span[role=option]', a).length, texts: all('.tokens span', a).map(s => s.textContent),
  strip: {waad: points(a.querySelector('.strip path.waad')), fai: points(a.querySelector('.strip path.fai'))},
  score: {waad: points(a.querySelector('.score path.waad')), fai: points(a.querySelector('.score path.fai'))},
  arcs: all('.strip path.arc', a).map(p => p.getBBox().width), worth: all('.strip rect.worth', a).length,
  cells: all('.heads rect.cell', a).length, marks: all('.heads text.mark', a).map(t => t.textContent),
  images: all('canvas', a).map(c => {
    const data = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
    return {drawn: Number(c.dataset.drawn), width: c.getBoundingClientRect().width, red: [...data].filter((_, i) => i % 4 === 0)};
  })}));

// The score runs above its words: each point over the middle of its token.
const first = document.querySelector('.answer'), tokens = first.querySelector('.tokens');
if (first.querySelector('.score path.waad')) {
  const xy = places(first.querySelector('.score path.waad'));
  const box = tokens.getBoundingClientRect();
  found.offset = Math.max(...all('span', tokens).map((s, i) => { const r = s.getClientRects()[0]; return Math.abs(r.left + r.width / 2 - box.left - xy[i][0]); }));
  found.above = all('span', tokens).every((s, i) => { const up = s.getClientRects()[0].top - box.top - xy[i][1]; return up > 0 && up < 40; });
}

if (found.answers[0].tokens > 5) {
  tokens.querySelector('[tabindex="0"]').focus();
  found.keys.focus = {...where(), tip: tip(), outline: getComputedStyle(document.activeElement).outlineStyle};
  for (const name of ['ArrowRight', 'ArrowDown', 'ArrowUp', 'End', 'ArrowRight', 'PageDown', 'PageUp', 'Home', 'ArrowLeft']) {
    key(name);
    (found.keys[name] ||= []).push({...where(), tip: tip()});
  }
  key('Escape');
  found.keys.escape = tip();
  all('span', tokens)[5].dispatchEvent(new PointerEvent('pointerover', {bubbles: true}));
  found.hover = {tip: tip(), look: all('.look', tokens).map(s => s.index), links: all('.score path.link', tokens).length};
  found.selectable = getComputedStyle(all('span', tokens)[5]).userSelect;
  const select = document.querySelector('select');
  found.hot = [all('.h5', tokens).length];
  if (select) {
    select.value = 'LOCAL_CHUNK';
    select.dispatchEvent(new Event('change'));
    found.hot.push(all('.h5', tokens).length);
  }
  const heads = document.querySelector('.heads svg');
  if (heads) {
    heads.focus();
    key('ArrowDown');
    found.head = document.querySelector('.heads output').textContent;
  }
}

found.contrast = leastContrast('.rhythm *, h1, .sub');
)js";

class RhythmPageBrowserTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (Chromium().empty()) GTEST_SKIP() << "Chromium is not installed (scripts/setup.sh --lint, on Debian)";
  }

  // What the probe found on the page.
  static Json Open(const std::string& page, const std::string& flags = "") {
    const std::string test = ::testing::UnitTest::GetInstance()->current_test_info()->name();
    return ProbePage(page, kProbe, absl::StrCat(::testing::TempDir(), "/browser-", test, flags), flags);
  }
};

TEST_F(RhythmPageBrowserTest, DrawsEverything) {
  const std::vector<RhythmAnswer> answers = {MadeUpAnswer(1, kTokens), MadeUpAnswer(2, 400)};
  const Json found = Open(RhythmPageHtml("Two made-up answers", answers));
  EXPECT_EQ(found["errors"].dump(), "[]");
  EXPECT_EQ(found["overflow"], 0) << "pixels wider than the window";
  ASSERT_EQ(found["answers"].size(), 2U);
  for (size_t i = 0; i < answers.size(); ++i) {
    const Json& drawn = found["answers"][i];
    const size_t n = answers[i].tokens.size();
    EXPECT_EQ(drawn["tokens"], n);
    EXPECT_EQ(drawn["texts"].get<std::vector<std::string>>(), answers[i].tokens);
    for (const char* place : {"strip", "score"}) {
      EXPECT_EQ(drawn[place]["waad"], n) << place;
      EXPECT_EQ(drawn[place]["fai"], n) << place;
    }
    EXPECT_EQ(drawn["cells"], 45);
    const auto marks = drawn["marks"].get<std::vector<std::string>>();
    EXPECT_EQ(std::count(marks.begin(), marks.end(), "L"), 13);
    EXPECT_EQ(std::count(marks.begin(), marks.end(), "G"), 13);
    ASSERT_EQ(drawn["images"].size(), 2U);
    for (size_t k = 0; k < 2; ++k) {
      const std::vector<uint8_t>& values = answers[i].images[k].values;
      const Json& image = drawn["images"][k];
      EXPECT_EQ(image["drawn"], values.size());
      EXPECT_GT(image["width"], 200);
      // The ramp's ends, read back from the pixels.
      const size_t bright = static_cast<size_t>(std::max_element(values.begin(), values.end()) - values.begin());
      const size_t dark = static_cast<size_t>(std::min_element(values.begin(), values.end()) - values.begin());
      EXPECT_EQ(image["red"][bright], 0xFC);
      EXPECT_EQ(image["red"][dark], 0);
    }
  }
  EXPECT_LT(found["offset"], 1.0);
  EXPECT_EQ(found["above"], true);
}

TEST_F(RhythmPageBrowserTest, DrawsTheFlowAndWhatTokensWereWorth) {
  std::vector<RhythmAnswer> answers = {MadeUpAnswer(1, kTokens), MadeUpAnswer(2, kTokens)};
  answers[0].flow.assign(kTokens, 0.1);
  answers[0].arcs = {{-1, 100, 0.9}, {-1, 10, 0.5}, {10, 140, 0.4}};
  answers[0].advantage.assign(kTokens, std::nan(""));
  answers[0].advantage[5] = 0.25;
  answers[0].advantage[90] = -0.5;
  const Json found = Open(RhythmPageHtml("flow", answers));
  EXPECT_EQ(found["errors"].dump(), "[]");
  const auto widths = found["answers"][0]["arcs"].get<std::vector<double>>();
  ASSERT_EQ(widths.size(), 3U);
  EXPECT_NEAR(widths[0] / widths[2], 100.5 / 130, 0.02) << "the prompt stands left of the first token";
  EXPECT_EQ(found["answers"][0]["worth"], 2);
  EXPECT_EQ(found["answers"][1]["arcs"].size(), 0U);
  EXPECT_EQ(found["answers"][1]["worth"], 0);
}

TEST_F(RhythmPageBrowserTest, AFullPageIsDrawnToItsEnd) {
  std::vector<RhythmAnswer> answers;
  for (int i = 1; i <= 32; ++i) answers.push_back(MadeUpAnswer(i, 400));
  const Json found = Open(RhythmPageHtml("full", answers));
  EXPECT_EQ(found["errors"].dump(), "[]");
  ASSERT_EQ(found["answers"].size(), 32U);
  for (const Json& drawn : found["answers"]) {
    EXPECT_EQ(drawn["tokens"], 400);
    EXPECT_EQ(drawn["score"]["waad"], 400);
    EXPECT_EQ(drawn["images"].size(), 2U);
  }
}

TEST_F(RhythmPageBrowserTest, IsUsableWithTheKeyboard) {
  const std::vector<RhythmAnswer> answers = {MadeUpAnswer(1, kTokens), MadeUpAnswer(2, kTokens)};
  const RhythmAnswer& answer = answers[0];
  const Json found = Open(RhythmPageHtml("keys", answers));
  const Json& keys = found["keys"];
  // The readout's γ and WAAD are those of the token; the page has rounded WAAD twice.
  const auto expect_tip = [&answers](const Json& where, size_t a, size_t i) {
    double gamma = 0, waad = 0;
    ASSERT_EQ(std::sscanf(where["tip"].get<std::string>().c_str(), "γ %lf WAAD %lf Δ ", &gamma, &waad), 2) << where;
    EXPECT_EQ(gamma, answers[a].credits[0].gamma[i]);
    EXPECT_NEAR(waad, answers[a].waad[i], 0.006 * answers[a].waad[i]);
  };
  EXPECT_EQ(keys["focus"]["token"], 0);
  EXPECT_EQ(keys["focus"]["outline"], "solid");
  expect_tip(keys["focus"], 0, 0);
  EXPECT_EQ(keys["ArrowRight"][0]["token"], 1);
  expect_tip(keys["ArrowRight"][0], 0, 1);
  EXPECT_THAT(keys["ArrowRight"][0]["label"].get<std::string>(),
              ::testing::HasSubstr(absl::StrCat("token 1 of ", kTokens)));
  EXPECT_GT(keys["ArrowDown"][0]["token"], 5) << "the line below";
  EXPECT_LT(keys["ArrowUp"][0]["token"], 5) << "and back";
  EXPECT_EQ(keys["End"][0]["token"], kTokens - 1);
  EXPECT_EQ(keys["ArrowRight"][1]["token"], kTokens - 1) << "stops at the end";
  EXPECT_EQ(keys["PageDown"][0]["answer"], "a2");
  expect_tip(keys["PageDown"][0], 1, 0);
  EXPECT_EQ(keys["PageUp"][0]["token"], kTokens - 1) << "where it was left";
  EXPECT_EQ(keys["Home"][0]["token"], 0);
  EXPECT_EQ(keys["ArrowLeft"][0]["token"], 0);
  EXPECT_TRUE(keys["escape"].is_null());
  EXPECT_EQ(found["head"],
            absl::StrCat("layer 13, head 0: ", NumberText(answer.heads.span[9], 4), " tokens back",
                         std::count(answer.heads.local.begin(), answer.heads.local.end(), 9)     ? ", local"
                         : std::count(answer.heads.global.begin(), answer.heads.global.end(), 9) ? ", global"
                                                                                                 : ""));
}

TEST_F(RhythmPageBrowserTest, ShowsNumbersAndLookersUnderThePointer) {
  const RhythmAnswer answer = MadeUpAnswer(1, kTokens);
  const Json found = Open(RhythmPageHtml("hover", {answer}));
  EXPECT_THAT(found["hover"]["tip"].get<std::string>(), ::testing::HasSubstr("entropy, nats "));
  std::vector<int32_t> lookers;
  for (const Looker& looker : answer.lookers[5]) lookers.push_back(looker.token);
  std::sort(lookers.begin(), lookers.end());
  ASSERT_EQ(lookers.size(), 3U);
  EXPECT_EQ(found["hover"]["look"].get<std::vector<int32_t>>(), lookers);
  EXPECT_EQ(found["hover"]["links"], 3);
  EXPECT_EQ(found["selectable"], "auto");
  // The colours follow the strategy chosen.
  for (size_t k = 0; k < 2; ++k) {
    const std::vector<double>& gamma = answer.credits[k].gamma;
    EXPECT_EQ(found["hot"][k], std::count(gamma.begin(), gamma.end(), 1.5));
  }
}

TEST_F(RhythmPageBrowserTest, EveryTextHasContrastInLightAndDark) {
  for (const bool dark : {false, true}) {
    const Json found = Open(RhythmPageHtml("contrast", {MadeUpAnswer(1, kTokens)}), dark ? "--force-dark-mode" : "");
    EXPECT_EQ(found["dark"], dark);
    EXPECT_GT(found["contrast"]["texts"], kTokens);
    EXPECT_GE(found["contrast"]["least"], 4.5) << (dark ? "dark: " : "light: ") << found["contrast"].dump();
  }
}

TEST_F(RhythmPageBrowserTest, HostileTextStaysText) {
  RhythmAnswer answer{.title = "</title><img src=x>", .prompt = "<b>"};
  answer.tokens = {"</script><script>document.body.remove()</script>", "\"'><img src=x onerror=alert(1)>", "&lt;", "\n",
                   ""};
  answer.credits = {{"</script>", {1, 1.5, 1, 0.5, 1}}};
  answer.waad = {1, 2, 3, 4, 5};
  const Json found = Open(RhythmPageHtml("</title><img>", {answer}));
  EXPECT_EQ(found["errors"].dump(), "[]");
  EXPECT_EQ(found["answers"][0]["texts"].get<std::vector<std::string>>(), answer.tokens);
  EXPECT_EQ(found["answers"][0]["strip"]["waad"], 5);
  EXPECT_EQ(found["answers"][0]["strip"]["fai"], 0);
}

TEST_F(RhythmPageBrowserTest, TheRunReportDrawsItsCompletions) {
  const RhythmAnswer made = MadeUpAnswer(1, kTokens);
  ReportData data;
  data.title = "a run";
  for (int i = 1; i <= 12; ++i) {
    data.steps.emplace_back();
    data.steps.back().step = i;
  }
  SampleRecord sample;
  sample.prompt = "p";
  sample.tokens = made.tokens;
  sample.gamma = made.credits[0].gamma;
  sample.logprobs = made.logprobs;
  data.answers.push_back(AnswerOf(sample));  // without the rhythm, as older builds wrote it
  sample.waad = made.waad;
  sample.fai = made.fai;
  sample.layers = made.heads.layers;
  sample.span = made.heads.span;
  sample.local_heads = made.heads.local;
  sample.global_heads = made.heads.global;
  data.answers.push_back(AnswerOf(sample));
  const Json found = Open(ReportHtml(data));
  EXPECT_EQ(found["errors"].dump(), "[]");
  EXPECT_EQ(found["answers"][0]["tokens"], kTokens);
  EXPECT_EQ(found["answers"][0]["strip"]["waad"], 0);
  EXPECT_EQ(found["answers"][1]["score"]["fai"], kTokens);
  EXPECT_EQ(found["answers"][0]["cells"], 0);
  EXPECT_EQ(found["answers"][1]["cells"], 45);
  EXPECT_THAT(found["hover"]["tip"].get<std::string>(), ::testing::HasSubstr("log p "));
}

}  // namespace
}  // namespace tactus
