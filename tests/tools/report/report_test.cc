#include "tools/report/report.h"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>

#include "absl/strings/escaping.h"
#include "common/base/file.h"
#include "common/base/sha256.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tools/report/report_chart.h"
#include "tools/report/timeline_chart.h"

namespace tactus {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

ReportData Data(int steps) {
  ReportData data;
  data.title = "a run";
  for (int i = 1; i <= steps; ++i) {
    StepRecord record;
    record.step = i;
    record.version = "0." + std::to_string(i);
    for (const StepField& field : StepFields()) {
      if (field.absent == nullptr) record.*field.member = 0;
    }
    record.kl_k3 = record.mismatch_mean = record.mismatch_max = record.grad_norm = 0;
    record.gamma_version_lag_mean = record.gamma_version_lag_max = 0;
    record.reward_mean = 0.01 * i;
    data.steps.push_back(record);
  }
  return data;
}

int Count(const std::string& text, const std::string& part) {
  int count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST(ReportTest, APageIsCompleteAndNeedsNothingElse) {
  ReportData data = Data(30);
  data.config_text = "seed: 1\n";
  const std::string html = ReportHtml(data);
  EXPECT_THAT(html, HasSubstr("<html lang=\"en\">"));
  EXPECT_THAT(html, HasSubstr("<b class=\"up\">0.055 → 0.255</b>"));
  EXPECT_THAT(html, HasSubstr("seed: 1\n"));
  for (const char* remote : {"http://", "https://", "src=", "@import", "url("})
    EXPECT_THAT(html, Not(HasSubstr(remote)));
  EXPECT_EQ(Count(html, "<figure class=\"chart\">"), Count(html, "</figure>"));
  EXPECT_EQ(Count(html, "<figure class=\"chart\">"), 15) << "no evaluation and no audit, no curves of them";
  EXPECT_EQ(Count(html, "<noscript><table>"), 15);
  EXPECT_EQ(Count(html, "<dd>not measured: "), 12) << "each of them says why";
  for (const StepChart& chart : StepCharts()) EXPECT_THAT(html, HasSubstr(chart.title)) << "drawn, or said why not";
}

TEST(ReportTest, WhatWasNotMeasuredIsNotZero) {
  ReportData data = Data(30);
  for (StepRecord& step : data.steps) step.kl_k3 = step.mismatch_max = step.mismatch_mean = std::nan("");
  data.steps[3].reward_mean = std::nan("");
  const std::string html = ReportHtml(data);
  EXPECT_THAT(html, HasSubstr("<dt>KL</dt><dd>not measured: no reference policy is kept, as algorithm.kl_beta is 0"));
  EXPECT_THAT(html, Not(HasSubstr("<span>largest |Δ log p|"))) << "no tile says 0";
  EXPECT_THAT(html, HasSubstr("<b class=\"up\">0.062 → 0.255</b>")) << "the first ten there are";
  EXPECT_EQ(Count(html, "<figure class=\"chart\">"), 13);
}

TEST(ReportTest, TheBestCheckpointIsNamed) {
  ReportData data = Data(3);
  EXPECT_THAT(ReportHtml(data), Not(HasSubstr("Best checkpoint")));
  data.best = BestCheckpoint{.path = "runs/<a>/checkpoints/best/step-000002", .held_out = {2, 0.75, 0.5, 0.875}};
  EXPECT_THAT(ReportHtml(data), HasSubstr("Best checkpoint: <code>runs/&lt;a&gt;/checkpoints/best/step-000002</code>, "
                                          "held-out pass@1 0.750 [0.500, 0.875] after step 2"));
}

TEST(ReportTest, SourcesStandInATable) {
  ReportData data = Data(30);
  EXPECT_THAT(ReportHtml(data), Not(HasSubstr("<h2>Sources</h2>")));
  for (size_t i = 0; i < 30; ++i) {
    const double reward = i < 10 ? 0.25 : i < 20 ? 7 : 0.5;  // ten steps at each end count
    data.steps[i].sources = {{.name = "a", .groups = 3, .reward_mean = reward, .correct_rate = 0}};
    if (i == 4) data.steps[i].sources.push_back({.name = "b<", .groups = 10, .reward_mean = 1, .correct_rate = 1});
  }
  const std::string html = ReportHtml(data);
  EXPECT_THAT(html, HasSubstr("<h2>Sources</h2>"));
  EXPECT_THAT(html, HasSubstr("<tr><th scope=\"row\">a</th><td>90</td><td>0.900</td><td>0.250, 0.500</td>"
                              "<td>0.000, 0.000</td></tr>"));
  EXPECT_THAT(html, HasSubstr("<tr><th scope=\"row\">b&lt;</th><td>10</td><td>0.100</td><td>–</td><td>–</td></tr>"))
      << "one step has no first and last";
}

TEST(ReportTest, ARateThatNoRecordHoldsIsNoTile) {
  ReportData data = Data(30);
  for (StepRecord& step : data.steps) step.tokens_generated_per_s = std::nan("");
  const std::string html = ReportHtml(data);
  EXPECT_THAT(html, Not(HasSubstr("<span>tokens sampled per second")));
  EXPECT_THAT(html, HasSubstr("<span>tokens trained per second"));
  EXPECT_THAT(html, Not(HasSubstr("nan</b>")));
}

TEST(ReportTest, NothingRunsButThePagesOwnScript) {
  const std::string html = ReportHtml(Data(3));
  EXPECT_THAT(html, HasSubstr("default-src 'none'"));
  const std::string open = "<script>", close = "</script>", before = "script-src 'sha256-";
  const size_t begin = html.find(open) + open.size(), end = html.find(close, begin);
  const std::string hash = absl::Base64Escape(absl::HexStringToBytes(Sha256Hex(html.substr(begin, end - begin))));
  EXPECT_EQ(html.substr(html.find(before) + before.size(), hash.size() + 1), hash + "'");
}

TEST(ReportTest, TagsAreBalanced) {
  ReportData data = Data(3);
  data.steps[1].sources = {{.name = "a", .groups = 3, .reward_mean = 1, .correct_rate = 0}};
  data.answers.push_back(AnswerOf({.step = 1,
                                   .version = "0.0",
                                   .prompt = "p",
                                   .text = "a",
                                   .tokens = {"a"},
                                   .gamma = {1.5},
                                   .logprobs = {-1},
                                   .reason = "r"}));
  std::string html = ReportHtml(data);
  for (const auto& [begin, end] : {std::pair("<script", "</script>"), std::pair("<style", "</style>")}) {
    for (size_t at = 0; (at = html.find(begin)) != std::string::npos;)
      html.erase(at, html.find(end, at) + std::string(end).size() - at);
  }
  const std::set<std::string> empty = {"meta", "line", "circle", "path", "!doctype"};
  std::vector<std::string> open;
  const std::regex tag("<(/?)([a-z0-9!]+)[^>]*?(/?)>");
  for (std::sregex_iterator it(html.begin(), html.end(), tag), end; it != end; ++it) {
    if (empty.contains((*it)[2])) continue;
    if ((*it)[1] == "") {
      open.push_back((*it)[2]);
    } else {
      ASSERT_FALSE(open.empty());
      ASSERT_EQ(open.back(), (*it)[2]);
      open.pop_back();
    }
  }
  EXPECT_TRUE(open.empty());
}

TEST(ReportTest, CompletionsAreNeverMarkup) {
  ReportData data = Data(1);
  data.title = "<i>";
  data.config_text = "</pre><script>alert(1)</script>";
  data.answers.push_back(AnswerOf({.step = 1,
                                   .version = "0.0",
                                   .prompt = "<script>alert(2)</script>",
                                   .text = "x",
                                   .tokens = {"<img ", "onerror=\"'&"},
                                   .gamma = {1.5, 0.7},
                                   .logprobs = {-0.25, -1},
                                   .reward = 0,
                                   .correct = false,
                                   .reason = "<b>"}));
  const std::string html = ReportHtml(data);
  EXPECT_THAT(html, Not(HasSubstr("<script>alert")));
  EXPECT_THAT(html, Not(HasSubstr("<img")));
  EXPECT_THAT(html, HasSubstr("<span class=\"h5\">&lt;img </span><span class=\"c3\">onerror=&quot;&#39;&amp;</span>"));
  EXPECT_THAT(html, HasSubstr("\"logprob\":[-0.25,-1]"));
}

TEST(ReportTest, TheDeltaOfAConversationIsOfTheModelsTurns) {
  SampleRecord sample;
  sample.tokens = {"a", "b", "x", "c", "d"};
  sample.waad = {1, 4, 0, 9, 7};
  EXPECT_EQ(AnswerOf(sample).delta, (std::vector<double>{3, 4, 9, 2, 0}));
  sample.sampled = {0, 1, 3, 4};
  EXPECT_EQ(AnswerOf(sample).delta, (std::vector<double>{3, 0, 0, 2, 0}));
}

TEST(ReportTest, ALongRunStaysSmall) { EXPECT_LT(ReportHtml(Data(200000)).size(), size_t{600} << 10); }

TEST(ReportTest, ARunWithoutStepsIsAPageToo) { EXPECT_THAT(ReportHtml({}), HasSubstr("No step has finished yet.")); }

// The numbers of a chart, as the script reads them.
nlohmann::json NumbersOf(const std::string& html) {
  const std::string open = "<script type=\"application/json\">";
  const size_t begin = html.find(open) + open.size();
  return nlohmann::json::parse(html.substr(begin, html.find("</script>", begin) - begin));
}

TEST(ChartTest, WhatIsNotFiniteIsNull) {
  std::vector<StepRecord> steps = Data(6).steps;
  for (size_t i = 0; i < 6; ++i) steps[i].loss = 0.5 * static_cast<double>(i);
  steps[2].loss = std::nan("");
  steps[3].loss = INFINITY;
  steps[5].loss = -1e300;
  const ChartSpec spec = {"Loss", "help", "nats", {{"<loss>", &StepRecord::loss, "it </script> burst"}}};
  const std::string html = ChartHtml(spec, steps);
  const nlohmann::json numbers = NumbersOf(html);
  EXPECT_EQ(numbers["x"].dump(), "[1,2,3,4,5,6]");
  EXPECT_EQ(numbers["unit"], "nats");
  EXPECT_EQ(numbers["series"][0]["label"], "<loss>");
  EXPECT_EQ(numbers["series"][0]["absent"], "it </script> burst");
  EXPECT_EQ(numbers["series"][0]["y"].dump(), "[0,0.5,null,null,2,-1e+300]");
  EXPECT_EQ(Count(html, "</script>"), 1);
  EXPECT_THAT(html, HasSubstr("&lt;loss&gt;</th><td>0</td><td>-1e+300</td>")) << "for who runs no script";
}

TEST(ChartTest, ABandIsGivenWhereThereIsOne) {
  const DrawnChart chart = {
      .title = "R",
      .axis = "completion",
      .x = {8, 16},
      .series = {{.label = "a", .absent = "", .y = {1, 2}, .low = {0.5, std::nan("")}, .high = {1.5, INFINITY}},
                 {.label = "b", .absent = "", .y = {3, 4}}}};
  const nlohmann::json numbers = NumbersOf(FigureHtml(chart));
  EXPECT_EQ(numbers["axis"], "completion");
  EXPECT_EQ(numbers["x"].dump(), "[8,16]");
  EXPECT_EQ(numbers["series"][0]["low"].dump(), "[0.5,null]");
  EXPECT_EQ(numbers["series"][0]["high"].dump(), "[1.5,null]");
  EXPECT_FALSE(numbers["series"][1].contains("low"));
}

TEST(ChartTest, ALongRunIsAveraged) {
  std::vector<StepRecord> steps = Data(4000).steps;
  steps[10].reward_mean = std::nan("");
  const nlohmann::json numbers = NumbersOf(ChartHtml({"R", "", "", {{"r", &StepRecord::reward_mean}}}, steps));
  ASSERT_EQ(numbers["x"].size(), 400U);
  ASSERT_EQ(numbers["series"][0]["y"].size(), 400U);
  EXPECT_EQ(numbers["x"][0], 5.5);
  EXPECT_EQ(numbers["series"][0]["y"][0], 0.055);
  EXPECT_EQ(numbers["series"][0]["y"][1], 0.16) << "the mean of steps 12 to 20";
}

TEST(ChartTest, KnowsWhetherThereIsAnythingToDraw) {
  std::vector<StepRecord> steps = Data(3).steps;
  const ChartSpec spec = {"", "", "", {{"a", &StepRecord::loss}, {"b", &StepRecord::kl_k3}}};
  for (StepRecord& step : steps) step.loss = step.kl_k3 = std::nan("");
  EXPECT_FALSE(HasValues(spec, steps));
  EXPECT_FALSE(HasValues(spec, {}));
  steps[2].kl_k3 = 0;
  EXPECT_TRUE(HasValues(spec, steps)) << "one of the second series";
}

// Two steps of two seconds each: the learner waits, computes, publishes; "a" samples across the border.
std::vector<StepTimeline> Timelines() {
  std::vector<StepTimeline> steps(2);
  for (size_t i = 0; i < 2; ++i) {
    steps[i] = {.step = static_cast<int64_t>(7 + i),
                .version = "0.7",
                .start_s = 100 + 2 * static_cast<double>(i),
                .length_s = 2,
                .learner = {{LearnerWork::kWait, {0, 1}}, {LearnerWork::kPasses, {1, 1.75}}},
                .actors = {{.actor = "</script><b>", .sampling = {{-0.5, 0.75}}, .arrived_s = {0.875}}}};
  }
  steps[1].learner.push_back({LearnerWork::kPublish, {1.75, 2}});
  return steps;
}

TEST(TimelineChartTest, LanesStandOnOneAxis) {
  const std::string html = TimelineHtml(Timelines());
  const nlohmann::json numbers = NumbersOf(html);
  EXPECT_EQ(numbers["length"], 4);
  EXPECT_EQ(numbers["steps"].dump(), R"([{"from":0,"step":7,"to":2},{"from":2,"step":8,"to":4}])");
  ASSERT_EQ(numbers["lanes"].size(), 2U);
  EXPECT_EQ(numbers["lanes"][0]["label"], "learner");
  EXPECT_EQ(numbers["lanes"][0]["spans"].dump(),
            R"([["passes",1,1.75],["passes",3,3.75],["publish",3.75,4],["waiting",0,1],["waiting",2,3]])");
  EXPECT_EQ(numbers["lanes"][1]["label"], "</script><b>");
  EXPECT_EQ(numbers["lanes"][1]["spans"].dump(), R"([["sampling",0,0.75],["sampling",1.5,2.75]])")
      << "what lies before the first step is cut";
  EXPECT_EQ(numbers["lanes"][1]["marks"].dump(), "[0.875,2.875]");
  EXPECT_EQ(Count(html, "</script>"), 1);
  EXPECT_THAT(html, HasSubstr("learner</th><td>passes 1.5 s (38 %), publish 0.25 s (6 %), waiting 2 s (50 %)</td>"))
      << "for who runs no script";
  EXPECT_THAT(html, HasSubstr("the last steps, 7 to 8,"));
}

TEST(TimelineChartTest, NoStepsNoFigureAndManyActorsAreBounded) {
  EXPECT_EQ(TimelineHtml({}), "");
  std::vector<StepTimeline> steps = Timelines();
  for (int i = 0; i < 50; ++i)
    steps[0].actors.push_back({.actor = "actor-" + std::to_string(i), .sampling = {}, .arrived_s = {}});
  EXPECT_EQ(NumbersOf(TimelineHtml(steps))["lanes"].size(), 33U);
}

TEST(WriteReportTest, ReadsAFolder) {
  const RunFolder folder{::testing::TempDir() + "/report_test"};
  std::filesystem::remove_all(folder.root);
  std::filesystem::create_directories(folder.root);
  EXPECT_EQ(WriteReport(folder, folder.report(), {}).code(), absl::StatusCode::kNotFound);
  std::ofstream(folder.metrics()) << "{\"step\":1}\n";
  std::ofstream(folder.samples()) << "{\"step\":\n{}\n";
  ::testing::internal::CaptureStderr();
  EXPECT_TRUE(WriteReport(folder, folder.report(), {}).ok());
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), HasSubstr("samples.jsonl: a damaged line is left out"));
  std::filesystem::remove(folder.samples());
  EXPECT_TRUE(WriteReport(folder, folder.report(), {}).ok());
  EXPECT_TRUE(std::filesystem::exists(folder.report()));
  std::ofstream(folder.held_out()) << "{\"step\":0,\"pass1\":0.25,\"low\":0.2,\"high\":0.3}\n"
                                   << "{\"step\":2,\"pass1\":0.5,\"low\":0.4,\"high\":0.6}\n";
  std::ofstream(folder.metrics(), std::ios::app) << "{\"step\":2}\n";
  ASSERT_TRUE(WriteReport(folder, folder.report(), {}).ok());
  EXPECT_THAT(ReadFile(folder.report()).value(), HasSubstr("0.250 → 0.500"));
  EXPECT_THAT(ReadFile(folder.report()).value(), Not(HasSubstr("<figure class=\"lanes\">"))) << "an older run's";
  {
    std::ofstream timeline(folder.timeline());
    for (const StepTimeline& step : Timelines()) timeline << StepTimelineToJson(step) << "\n";
  }
  ASSERT_TRUE(WriteReport(folder, folder.report(), {}).ok());
  EXPECT_THAT(ReadFile(folder.report()).value(), HasSubstr("<figure class=\"lanes\">"));
}

}  // namespace
}  // namespace tactus
