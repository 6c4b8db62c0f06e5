// Opens reports in headless Chromium and asks their charts what was drawn. Skipped where there is no Chromium.
#include <cmath>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/tools/report/browser.h"
#include "tools/report/html_page.h"
#include "tools/report/report.h"
#include "tools/report/report_chart.h"
#include "tools/report/timeline_chart.h"

namespace tactus {
namespace {

using Json = nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

// What each chart shows, then what the keys and the pointer make the first one say.
constexpr char kProbe[] = R"js(
const number = text => Number(text.replace(/,/g, '').replace(/ %$/, ''));
const legend = figure => figure.querySelector('.legend').textContent;
found.charts = all('figure.chart').map(figure => {
  const svg = figure.querySelector('svg'), [, , width, height] = svg.getAttribute('viewBox').split(' ').map(Number);
  const line = css => figure.querySelector(`path.${css}`), xy = all('path.s0,path.s1', svg).flatMap(places);
  return {
    title: figure.querySelector('figcaption b').textContent, label: svg.getAttribute('aria-label'),
    raw: line('s0') ? places(line('s0')) : [], second: line('s1') ? places(line('s1')) : [], mean: line('mean') ? places(line('mean')) : [],
    bands: all('path.band', svg).map(places),
    runs: (line('s0').getAttribute('d').match(/M/g) || []).length, dots: all('circle', svg).length,
    gaps: all('rect.gap', svg).map(r => [Number(r.getAttribute('x')), Number(r.getAttribute('width'))]),
    ticks: all('.grid text', svg).filter(t => t.getAttribute('text-anchor') === 'end').map(t => [number(t.textContent), Number(t.getAttribute('y')) - 4]),
    steps: all('.grid text', svg).filter(t => t.getAttribute('text-anchor') === 'middle').map(t => [number(t.textContent), Number(t.getAttribute('x'))]),
    notes: all('.grid text', svg).map(t => t.textContent), legend: legend(figure), why: figure.querySelector('small.absent').textContent,
    inside: xy.every(([x, y]) => x >= 0 && x <= width && y >= 0 && y <= height), scale: svg.getBoundingClientRect().width / width};
});
const first = document.querySelector('figure.chart');
if (first) {
  const svg = first.querySelector('svg'), out = first.querySelector('.legend');
  found.live = [out.getAttribute('aria-live')];
  svg.focus();
  found.live.push(out.getAttribute('aria-live'));
  found.keys = {focus: legend(first), outline: getComputedStyle(svg).outlineStyle};
  for (const name of ['ArrowLeft', 'PageUp', 'Home', 'ArrowLeft', 'End', 'Escape']) { key(name); (found.keys[name] ||= []).push(legend(first)); }
  found.cursor = all('.cursor *', svg).length;
  svg.blur();
  const at = found.charts[0].raw[2] || [0, 0], box = svg.getBoundingClientRect();
  svg.dispatchEvent(new PointerEvent('pointermove', {clientX: box.left + at[0] * found.charts[0].scale, clientY: box.top + 50}));
  found.hover = legend(first);
  found.marked = all('.cursor circle', svg).map(c => [Number(c.getAttribute('cx')), Number(c.getAttribute('cy'))]);
  svg.dispatchEvent(new PointerEvent('pointerleave'));
  found.left = legend(first);
}
found.contrast = leastContrast('main *');
)js";

class ReportBrowserTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (Chromium().empty()) GTEST_SKIP() << "Chromium is not installed (scripts/setup.sh --lint, on Debian)";
  }
  static std::string Folder() {
    return absl::StrCat(::testing::TempDir(), "/report-",
                        ::testing::UnitTest::GetInstance()->current_test_info()->name());
  }
  static Json Open(const std::string& page, const std::string& flags = "") {
    return ProbePage(page, kProbe, Folder() + flags, flags);
  }
  // A page of these charts alone.
  static Json Draw(const std::vector<ChartSpec>& specs, const std::vector<StepRecord>& steps) {
    std::string body;
    for (const ChartSpec& spec : specs) body += ChartHtml(spec, steps);
    return Open(HtmlPage("charts", "", "", body, ""));
  }
};

std::vector<StepRecord> Steps(int count) {
  std::vector<StepRecord> steps(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) {
    steps[i].step = i + 1;
    steps[i].loss = std::sin(0.37 * i) + 2;
    steps[i].grad_norm = 0.25 * i;
  }
  return steps;
}

const ChartSpec kLoss = {"Loss", "of a step", "nats", {{"loss", &StepRecord::loss, "it was lost"}}};

// The line through two labelled ticks, evaluated at `value`.
double PlaceOf(double value, const Json& ticks) {
  const double v0 = ticks.front()[0], v1 = ticks.back()[0], y0 = ticks.front()[1], y1 = ticks.back()[1];
  return y0 + (value - v0) / (v1 - v0) * (y1 - y0);
}

TEST_F(ReportBrowserTest, EveryNumberStandsWhereTheAxesSay) {
  const std::vector<StepRecord> steps = Steps(60);
  ChartSpec both = kLoss;
  both.series.push_back({"norm", &StepRecord::grad_norm});
  const Json found = Draw({both}, steps);
  EXPECT_EQ(found["errors"].dump(), "[]");
  EXPECT_EQ(found["overflow"], 0);
  const Json& chart = found["charts"][0];
  ASSERT_EQ(chart["raw"].size(), 60U);
  ASSERT_EQ(chart["second"].size(), 60U);
  ASSERT_GE(chart["ticks"].size(), 3U);
  ASSERT_GE(chart["steps"].size(), 3U);
  for (size_t i = 0; i < steps.size(); ++i) {
    EXPECT_NEAR(chart["raw"][i][0], PlaceOf(static_cast<double>(i + 1), chart["steps"]), 0.2);
    EXPECT_NEAR(chart["raw"][i][1], PlaceOf(steps[i].loss, chart["ticks"]), 0.2);
    EXPECT_NEAR(chart["second"][i][1], PlaceOf(steps[i].grad_norm, chart["ticks"]), 0.2);
  }
  EXPECT_EQ(chart["runs"], 1);
  EXPECT_EQ(chart["gaps"].dump(), "[]");
  EXPECT_NEAR(chart["scale"], 1, 0.01) << "drawn as wide as it is shown";
  const auto notes = chart["notes"].get<std::vector<std::string>>();
  EXPECT_THAT(notes, ::testing::Contains("nats"));
  EXPECT_THAT(notes, ::testing::Contains("step"));
  EXPECT_THAT(chart["label"].get<std::string>(), HasSubstr("norm between 0 and 14.8, first 0, last 14.8"));
  EXPECT_EQ(chart["legend"], absl::StrCat("loss ", NumberText(steps[59].loss, 4), "norm 14.75newest"))
      << "readable without hovering";
}

TEST_F(ReportBrowserTest, ABandLiesAroundItsLine) {
  const DrawnSeries sure = {.label = "sure", .absent = "", .y = {1, 2, 3}, .low = {0, 1, 2}, .high = {2, 4, 6}};
  const DrawnSeries alone = {.label = "alone", .absent = "", .y = {2, 2, 2}};
  const DrawnChart chart = {.title = "R", .axis = "completion", .x = {10, 20, 30}, .series = {sure, alone}};
  const Json found = Open(HtmlPage("charts", "", "", FigureHtml(chart), ""));
  EXPECT_EQ(found["errors"].dump(), "[]");
  const Json& drawn = found["charts"][0];
  ASSERT_EQ(drawn["bands"].size(), 1U) << "the other has none";
  const Json& band = drawn["bands"][0];  // there along the top, back along the bottom
  ASSERT_EQ(band.size(), 6U);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_NEAR(band[i][1], PlaceOf(sure.high[i], drawn["ticks"]), 0.2) << i;
    EXPECT_NEAR(band[5 - i][1], PlaceOf(sure.low[i], drawn["ticks"]), 0.2) << i;
    EXPECT_NEAR(band[i][0], drawn["raw"][i][0], 0.2) << i;
  }
  EXPECT_EQ(drawn["inside"], true);
  EXPECT_EQ(drawn["legend"], "sure 3 [2, 6]alone 2newest");
  EXPECT_THAT(drawn["notes"].get<std::vector<std::string>>(), ::testing::Contains("completion"));
}

TEST_F(ReportBrowserTest, WhatIsAbsentIsAGapThatSaysWhy) {
  std::vector<StepRecord> steps = Steps(40);
  for (const int i : {0, 9, 10, 11, 20, 39}) steps[static_cast<size_t>(i)].loss = std::nan("");
  ChartSpec smooth = kLoss;
  smooth.trend = true;
  const Json found = Draw({kLoss, smooth}, steps);
  EXPECT_EQ(found["errors"].dump(), "[]");
  for (const Json& chart : found["charts"]) {
    EXPECT_EQ(chart["raw"].size(), 34U) << "a point for each number, none at 0";
    EXPECT_EQ(chart["runs"], 3);
    EXPECT_EQ(chart["gaps"].size(), 4U);
    EXPECT_EQ(chart["why"], "gaps in loss: it was lost");
  }
  EXPECT_EQ(found["charts"][1]["mean"].size(), 34U) << "nor has the mean a value there";
  EXPECT_EQ(found["keys"]["focus"], "loss –it was loststep 40");
  EXPECT_EQ(found["left"], absl::StrCat("loss ", NumberText(steps[38].loss, 4), "newest")) << "the newest there is";
}

TEST_F(ReportBrowserTest, FewValuesAreDotsJoinedOverTheStepsBetween) {
  std::vector<StepRecord> steps = Steps(30);
  for (const size_t i : {0, 9, 29}) steps[i].eval_pass1 = 0.01 * static_cast<double>(i);
  const ChartSpec spec = {"Pass", "", "ratio", {{"pass@1", &StepRecord::eval_pass1, "no evaluation"}}, false, true};
  const Json found = Draw({spec}, steps);
  const Json& chart = found["charts"][0];
  EXPECT_EQ(chart["dots"], 3);
  EXPECT_EQ(chart["raw"].size(), 3U);
  EXPECT_EQ(chart["runs"], 1);
  EXPECT_EQ(chart["gaps"].size(), 0U);
  EXPECT_EQ(chart["legend"], "pass@1 29 %newest");
  EXPECT_NEAR(chart["raw"][1][1], PlaceOf(9, chart["ticks"]), 0.2) << "the axis is in percent";
}

TEST_F(ReportBrowserTest, KeysAndPointerReadOutNumbers) {
  const std::vector<StepRecord> steps = Steps(40);
  const Json found = Draw({kLoss}, steps);
  const auto said = [&steps](int step) {
    return absl::StrCat("loss ", NumberText(steps[static_cast<size_t>(step - 1)].loss, 4), "step ", step);
  };
  const Json& keys = found["keys"];
  EXPECT_EQ(keys["focus"], said(40));
  EXPECT_EQ(keys["outline"], "solid");
  EXPECT_EQ(keys["ArrowLeft"][0], said(39));
  EXPECT_EQ(keys["PageUp"][0], said(29));
  EXPECT_EQ(keys["Home"][0], said(1));
  EXPECT_EQ(keys["ArrowLeft"][1], said(1)) << "stops at the end";
  EXPECT_EQ(keys["End"][0], said(40));
  EXPECT_EQ(keys["Escape"][0], found["charts"][0]["legend"]);
  EXPECT_EQ(found["cursor"], 0);
  EXPECT_EQ(found["hover"], said(3));
  EXPECT_EQ(found["marked"][0], found["charts"][0]["raw"][2]);
  EXPECT_EQ(found["left"], found["charts"][0]["legend"]);
  EXPECT_EQ(found["live"].dump(), R"(["off","polite"])") << "speaks when asked";
}

// A learner that waits for the first second of two, and an actor.
std::vector<StepTimeline> Lanes() {
  std::vector<StepTimeline> steps(3);
  for (size_t i = 0; i < steps.size(); ++i) {
    steps[i] = {
        .step = static_cast<int64_t>(5 + i),
        .version = "0.1",
        .start_s = 2 * static_cast<double>(i),
        .length_s = 2,
        .learner = {{LearnerWork::kWait, {0, 1}}, {LearnerWork::kPasses, {1, 1.5}}, {LearnerWork::kPublish, {1.5, 2}}},
        .actors = {{.actor = "actor-0", .sampling = {{0, 1}}, .arrived_s = {0.5, 1}}}};
  }
  return steps;
}

TEST_F(ReportBrowserTest, LanesSayWhoWorkedWhen) {
  constexpr char kLanes[] = R"js(
const figure = document.querySelector('figure.lanes'), svg = figure.querySelector('svg');
const boxes = all('rect[class^="w-"]', svg).map(r => [r.getAttribute('class'), ...['x', 'width', 'y'].map(k => Number(r.getAttribute(k)))]);
found.boxes = boxes; found.width = Number(svg.getAttribute('viewBox').split(' ')[2]);
found.marks = all('.mark', svg).length; found.notes = all('text', svg).map(t => t.textContent);
found.label = svg.getAttribute('aria-label');
const legend = () => all('.legend > *', figure).map(e => e.textContent);
found.keys = legend();
svg.focus(); found.focus = legend();
key('ArrowLeft'); found.left = legend();
key('Escape'); found.escaped = legend();
svg.blur();
found.contrast = leastContrast('main *');
)js";
  const Json found = ProbePage(HtmlPage("lanes", "", "", TimelineHtml(Lanes()), ""), kLanes, Folder());
  EXPECT_EQ(found["errors"].dump(), "[]");
  ASSERT_EQ(found["boxes"].size(), 12U) << "three of the learner and one of the actor, three times";
  const auto of = [&](const std::string& css, size_t nth) {
    for (const Json& box : found["boxes"]) {
      if (box[0] == css && nth-- == 0) return box;
    }
    return Json();
  };
  const double unit = of("w-waiting", 1)[1].get<double>() - of("w-waiting", 0)[1].get<double>();  // two seconds
  EXPECT_NEAR(of("w-passes", 0)[1].get<double>() - of("w-waiting", 0)[1].get<double>(), unit / 2, 0.3);
  EXPECT_NEAR(of("w-passes", 0)[2].get<double>(), unit / 4, 0.3);
  EXPECT_EQ(of("w-sampling", 0)[1], of("w-waiting", 0)[1]) << "the lanes have one axis";
  EXPECT_GT(of("w-sampling", 0)[3], of("w-waiting", 0)[3]);
  const Json last = of("w-publish", 2);
  EXPECT_LE(last[1].get<double>() + last[2].get<double>(), found["width"].get<double>());
  EXPECT_EQ(found["marks"], 6);
  EXPECT_THAT(found["notes"].get<std::vector<std::string>>(),
              ::testing::IsSupersetOf({"learner", "actor-0", "step 5"}));
  EXPECT_EQ(found["keys"].dump(), R"(["sampling","waiting","passes","publish"])");
  EXPECT_EQ(found["focus"].dump(),
            R"(["learner: waiting 1 s, passes 0.5 s, publish 0.5 s","actor-0: sampling 1 s","step 7, 2 s"])");
  EXPECT_EQ(found["left"][2], "step 6, 2 s");
  EXPECT_EQ(found["escaped"], found["keys"]);
  EXPECT_THAT(found["label"].get<std::string>(),
              HasSubstr("learner: waiting 3 s, passes 1.5 s, publish 1.5 s; actor-0: sampling 3 s"));
  EXPECT_GE(found["contrast"]["least"], 4.5) << found["contrast"].dump();
}

TEST_F(ReportBrowserTest, OddSeriesStayInsideTheirFrame) {
  std::vector<StepRecord> steps = Steps(9);
  steps[2].loss = -1e300;
  steps[3].loss = 1.7976931348623157e308;  // rounded to what the page writes, more than a double holds
  for (StepRecord& step : steps) step.lr = 1e-5, step.kl_k3 = 0, step.clip_fraction = -3;
  const std::vector<ChartSpec> specs = {kLoss,
                                        {"Rate", "", "", {{"lr", &StepRecord::lr}}},
                                        {"KL", "", "", {{"KL", &StepRecord::kl_k3}}, true},
                                        {"Clip", "", "", {{"clip", &StepRecord::clip_fraction}}}};
  const Json found = Draw(specs, steps);
  EXPECT_EQ(found["errors"].dump(), "[]");
  for (const Json& chart : found["charts"]) {
    EXPECT_EQ(chart["inside"], true) << chart;
    EXPECT_THAT(chart.dump(), Not(HasSubstr("NaN")));
    EXPECT_GE(chart["ticks"].size(), 2U);
  }
  EXPECT_EQ(found["charts"][3]["raw"].size(), 9U);
  const Json one = Draw(specs, Steps(1));
  EXPECT_EQ(one["errors"].dump(), "[]");
  EXPECT_EQ(one["charts"][0]["dots"], 1) << "a lone number is a dot";
  EXPECT_EQ(one["charts"][0]["steps"].size(), 1U);
  const Json none = Draw(specs, {});
  EXPECT_EQ(none["errors"].dump(), "[]");
  EXPECT_THAT(none["charts"][0]["label"].get<std::string>(), HasSubstr("no values"));
}

ReportData RunOf(int count) {
  ReportData data;
  data.title = "a run";
  data.steps = Steps(count);
  for (StepRecord& step : data.steps) {  // every number is measured, so every chart is drawn
    for (const StepField& field : StepFields()) {
      if (std::isnan(step.*field.member)) step.*field.member = 0.5;
    }
  }
  data.config_text = "seed: 1\n";
  data.timeline = Lanes();
  return data;
}

TEST_F(ReportBrowserTest, AWholeReportIsDrawnAndReadableInLightAndDark) {
  for (const bool dark : {false, true}) {
    const Json found = Open(ReportHtml(RunOf(1000)), dark ? "--force-dark-mode" : "");
    EXPECT_EQ(found["errors"].dump(), "[]") << "nothing is thrown, nothing asked for from elsewhere";
    EXPECT_EQ(found["dark"], dark);
    EXPECT_EQ(found["charts"].size(), StepCharts().size());
    for (const Json& chart : found["charts"]) EXPECT_EQ(chart["raw"].size(), 400U) << chart["title"];
    EXPECT_GE(found["contrast"]["least"], 4.5) << (dark ? "dark: " : "light: ") << found["contrast"].dump();
  }
}

// Chromium dumps no page without scripts, so this looks at what is written.
TEST(ReportPageTest, WithoutScriptsATableHasTheFirstAndLastNumbers) {
  const std::string page = ReportHtml(RunOf(5));
  EXPECT_THAT(page, Not(HasSubstr("<svg class=\"plot\"")));
  const size_t row = page.find("<th scope=\"row\">norm</th><td>0</td><td>1</td>");
  ASSERT_NE(row, std::string::npos);
  EXPECT_GT(page.rfind("<noscript>", row), page.rfind("</noscript>", row) + 1)
      << "the table is for readers without scripts";
}

// Were a text ever to get into the page as markup, it would still not run.
TEST_F(ReportBrowserTest, AScriptThatIsNotThePagesOwnDoesNotRun) {
  const std::string evil =
      "<script>document.title='owned'</script><img src='x' onerror=\"document.title='owned'\">"
      "<a href='javascript:0' id='evil'>x</a>";
  std::filesystem::create_directories(Folder());
  ASSERT_TRUE(WriteFileAtomic(Folder() + "/page.html", HtmlPage("kept", "", "", evil, "document.title += '!'")).ok());
  const std::string dom = DumpDom(absl::StrCat("file://", Folder(), "/page.html"), Folder());
  EXPECT_THAT(dom, HasSubstr("<title>kept · Tactus!</title>"));
}

}  // namespace
}  // namespace tactus
