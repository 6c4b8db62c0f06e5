#include "tools/report/report.h"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>

#include "common/base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tools/report/report_chart.h"

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
  EXPECT_EQ(Count(html, "<figure>"), Count(html, "</figure>"));
  EXPECT_EQ(Count(html, "<figure>"), 12) << "no evaluation and no audit, no curves of them";
  EXPECT_EQ(Count(html, "role=\"img\" tabindex=\"0\" aria-label=\""), 12);
}

TEST(ReportTest, TagsAreBalanced) {
  ReportData data = Data(3);
  data.answers.push_back(AnswerOf({.step = 1,
                                   .version = "0.0",
                                   .prompt = "p",
                                   .text = "a",
                                   .tokens = {"a"},
                                   .gamma = {1.5},
                                   .logprobs = {-1},
                                   .reason = "r"}));
  std::string html = ReportHtml(data);
  html = std::regex_replace(html, std::regex("<script[^>]*>[^<]*(<[^/][^<]*)*</script>|<style>[^<]*</style>"), "");
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

TEST(ReportTest, ALongRunStaysSmall) { EXPECT_LT(ReportHtml(Data(200000)).size(), size_t{600} << 10); }

TEST(ReportTest, ARunWithoutStepsIsAPageToo) { EXPECT_THAT(ReportHtml({}), HasSubstr("No step has finished yet.")); }

TEST(ChartTest, DrawsFiniteValuesOnlyAndInsideTheFrame) {
  std::vector<StepRecord> steps = Data(6).steps;
  steps[2].loss = std::nan("");
  steps[3].loss = INFINITY;
  steps[5].loss = -1e300;
  const std::string html = ChartHtml({"Loss", "help", {{"loss", &StepRecord::loss}}}, steps);
  EXPECT_EQ(html.find("nan"), std::string::npos) << html;
  EXPECT_EQ(html.find("inf"), std::string::npos) << html;
  EXPECT_THAT(html, HasSubstr("null,null"));
  const std::regex point("[ML](-?[0-9.]+) (-?[0-9.]+)");
  int points = 0;
  for (std::sregex_iterator it(html.begin(), html.end(), point), end; it != end; ++it, ++points) {
    EXPECT_GE(std::stod((*it)[1]), 0) << html;
    EXPECT_LE(std::stod((*it)[1]), 480);
    EXPECT_GE(std::stod((*it)[2]), 0);
    EXPECT_LE(std::stod((*it)[2]), 210);
  }
  EXPECT_EQ(points, 4);
}

TEST(ChartTest, SparseValuesAreJoinedOverGaps) {
  std::vector<StepRecord> steps = Data(9).steps;
  steps[0].eval_pass1 = 0.25;
  steps[8].eval_pass1 = 0.75;
  const std::string html = ChartHtml({"Pass", "help", {{"pass@1", &StepRecord::eval_pass1}}, false, true}, steps);
  EXPECT_EQ(Count(html, "<circle"), 2);
  EXPECT_TRUE(std::regex_search(html, std::regex("d=\"M[0-9. ]+L[0-9. ]+\"")));
}

TEST(ChartTest, ConstantSingleAndEmptySeriesDraw) {
  const ChartSpec spec = {"Loss", "help", {{"loss", &StepRecord::loss}}};
  EXPECT_THAT(ChartHtml(spec, Data(1).steps), HasSubstr("<circle"));
  EXPECT_THAT(ChartHtml(spec, Data(5).steps), HasSubstr("<path"));
  EXPECT_THAT(ChartHtml(spec, {}), HasSubstr("no values"));
}

TEST(WriteReportTest, ReadsAFolder) {
  const RunFolder folder{::testing::TempDir() + "/report_test"};
  std::filesystem::remove_all(folder.root);
  std::filesystem::create_directories(folder.root);
  EXPECT_EQ(WriteReport(folder, folder.report(), {}).code(), absl::StatusCode::kNotFound);
  std::ofstream(folder.metrics()) << "{\"step\":1}\n";
  std::ofstream(folder.samples()) << "{\"step\":\n{}\n";
  const absl::Status status = WriteReport(folder, folder.report(), {});
  EXPECT_THAT(std::string(status.message()), HasSubstr("samples.jsonl:1"));
  std::filesystem::remove(folder.samples());
  EXPECT_TRUE(WriteReport(folder, folder.report(), {}).ok());
  EXPECT_TRUE(std::filesystem::exists(folder.report()));
  std::ofstream(folder.held_out()) << "{\"step\":0,\"pass1\":0.25,\"low\":0.2,\"high\":0.3}\n"
                                   << "{\"step\":2,\"pass1\":0.5,\"low\":0.4,\"high\":0.6}\n";
  std::ofstream(folder.metrics(), std::ios::app) << "{\"step\":2}\n";
  ASSERT_TRUE(WriteReport(folder, folder.report(), {}).ok());
  EXPECT_THAT(ReadFile(folder.report()).value(), HasSubstr("0.250 → 0.500"));
}

}  // namespace
}  // namespace tactus
