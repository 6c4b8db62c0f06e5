#include "tools/study/learning_page.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "common/metrics/build_info.h"
#include "tools/report/html_page.h"
#include "tools/report/report_chart.h"
#include "tools/report/web/report.css.h"

namespace tactus {
namespace {

using Json = nlohmann::ordered_json;

Json NumberOrNull(double value) { return std::isfinite(value) ? Json(value) : Json(); }

Json Figures(const Interval& interval) {
  return {{"value", NumberOrNull(interval.value)},
          {"low", NumberOrNull(interval.low)},
          {"high", NumberOrNull(interval.high)}};
}

// "0.556 ± 0.038", "+0.010 ± 0.020" with a sign; "0.556" of one run, "none" of none.
std::string Cell(const Interval& interval, bool sign) {
  if (!std::isfinite(interval.value)) return "none";
  const std::string mean = sign ? absl::StrFormat("%+.3f", interval.value) : absl::StrFormat("%.3f", interval.value);
  return std::isfinite(interval.low) ? absl::StrFormat("%s ± %.3f", mean, interval.high - interval.value) : mean;
}

std::string ShareText(double share) { return std::isfinite(share) ? absl::StrFormat("%.0f %%", 100 * share) : "none"; }

std::string SeedsText(const DifferenceFigures::Figures& figures) {
  if (!std::isfinite(figures.power)) return "not known";
  return figures.seeds_needed > 0 ? absl::StrCat(figures.seeds_needed) : "more than 10,000";
}

std::string ReachedText(const VariantFigures& variant) { return absl::StrCat(variant.reached, " of ", variant.runs); }

std::string MedianStep(const VariantFigures& variant) {
  return std::isfinite(variant.median_step) ? absl::StrFormat("%.0f", variant.median_step) : "not reached";
}

std::string MedianTime(const VariantFigures& variant) {
  return std::isfinite(variant.median_time_s) ? DurationText(variant.median_time_s) : "not reached";
}

// A figure and its interval stay on one line.
std::string Unbroken(const std::string& html) { return absl::StrReplaceAll(html, {{" ± ", "&nbsp;±&nbsp;"}}); }

// A table of which the first cell of each row is its head.
std::string Table(const std::vector<std::string>& head, const std::vector<std::vector<std::string>>& rows) {
  std::string out = "<div class=\"scroll\" tabindex=\"0\"><table><thead><tr>";
  for (const std::string& cell : head) absl::StrAppend(&out, "<th scope=\"col\">", EscapeHtml(cell), "</th>");
  out += "</tr></thead><tbody>\n";
  for (const std::vector<std::string>& row : rows) {
    out += "<tr>";
    for (size_t i = 0; i < row.size(); ++i) {
      absl::StrAppend(&out, i == 0 ? "<th scope=\"row\">" : "<td>", Unbroken(EscapeHtml(row[i])),
                      i == 0 ? "</th>" : "</td>");
    }
    out += "</tr>\n";
  }
  return out + "</tbody></table></div>\n";
}

DrawnSeries SeriesOf(const VariantFigures& variant) {
  DrawnSeries series{.label = variant.name, .absent = variant.runs > 0 ? "" : "no run has finished", .y = {}};
  for (const Interval& interval : variant.curve) {
    series.y.push_back(interval.value);
    series.low.push_back(interval.low);
    series.high.push_back(interval.high);
  }
  return series;
}

// Each variant beside the baseline; alone, where there is no other.
std::string Curves(const LearningSummary& summary) {
  std::string out;
  const size_t charts = std::max<size_t>(1, summary.variants.size() - 1);
  for (size_t i = 0; i < charts && !summary.curve_samples.empty(); ++i) {
    DrawnChart chart{.title = "Reward",
                     .help = "mean over seeds, with its 95 % interval",
                     .unit = "",
                     .axis = "completion",
                     .x = summary.curve_samples,
                     .series = {SeriesOf(summary.variants[0])}};
    if (summary.variants.size() > 1) {
      chart.title = absl::StrCat(summary.variants[i + 1].name, " beside ", summary.variants[0].name);
      chart.help = "reward, mean over seeds with its 95 % interval";
      chart.series.push_back(SeriesOf(summary.variants[i + 1]));
    }
    out += FigureHtml(chart);
  }
  return absl::StrCat("<h2>Reward over completions trained</h2>\n<div class=\"charts\">\n", out, "</div>\n");
}

std::string VariantTable(const LearningStudyText& text, const LearningSummary& summary) {
  std::vector<std::string> head = {"variant"};
  for (const Outcome outcome : kOutcomes) head.push_back(TitleOf(outcome));
  head.insert(head.end(),
              {"runs that reached it", "steps to it, median", "time to it, median", "a run takes", "overrides"});
  std::vector<std::vector<std::string>> rows;
  for (size_t v = 0; v < summary.variants.size(); ++v) {
    const VariantFigures& variant = summary.variants[v];
    std::vector<std::string>& row = rows.emplace_back(std::vector<std::string>{variant.name});
    for (const Interval& interval : variant.outcomes) row.push_back(Cell(interval, false));
    row.insert(row.end(), {ReachedText(variant), MedianStep(variant), MedianTime(variant), DurationText(variant.time_s),
                           text.overrides[v]});
  }
  return absl::StrCat(
      "<h2>Variants</h2>\n<p>Means over seeds ± half of their 95 % interval (Student's t). The reward at the end is "
      "the "
      "mean of the last ",
      text.reward_steps, " steps; “it” is a mean reward of ", NumberText(summary.target_reward, 4), " over ",
      text.reward_steps, " steps in a row, and a run that never reached it counts as the longest.</p>\n",
      Table(head, rows));
}

std::string DifferenceTables(const LearningStudyText& text, const LearningSummary& summary) {
  if (summary.differences.empty()) return "";
  std::string out = absl::StrCat("<h2>Differences to ", EscapeHtml(summary.variants[0].name),
                                 ", paired by seed</h2>\n<p>Runs of one seed see the same questions in the same order. "
                                 "Power is the chance that as "
                                 "many seeds find a true difference of ",
                                 NumberText(text.smallest_effect, 3),
                                 " in a two-sided test at 0.05, given how much these pairs scatter; an interval that "
                                 "holds 0 with little power says "
                                 "nothing for or against.</p>\n");
  for (size_t o = 0; o < kOutcomes.size(); ++o) {
    std::vector<std::vector<std::string>> rows;
    for (const DifferenceFigures& one : summary.differences) {
      const DifferenceFigures::Figures& figures = one.outcomes[o];
      rows.push_back({one.name, absl::StrCat(one.pairs), Cell(figures.difference, true),
                      std::isfinite(figures.p_value) ? absl::StrFormat("%.3f", figures.p_value) : "none",
                      ShareText(figures.power), SeedsText(figures)});
    }
    absl::StrAppend(&out, "<h3>", TitleOf(kOutcomes[o]), "</h3>\n",
                    Table({"variant", "pairs", "difference", "p", "power", "seeds for a power of 80 %"}, rows));
  }
  return out;
}

int64_t FinishedRuns(const LearningSummary& summary) {
  int64_t runs = 0;
  for (const VariantFigures& variant : summary.variants) runs += variant.runs;
  return runs;
}

}  // namespace

std::string LineOf(const LearningRun& run, const std::string& variant, const std::vector<std::string>& overrides) {
  Json json = {{"variant", variant},       {"seed", run.seed},
               {"set", overrides},         {"samples_per_step", run.samples_per_step},
               {"reward", Json::array()},  {"time_s", Json::array()},
               {"held_out", Json::array()}};
  for (const double reward : run.reward) json["reward"].push_back(NumberOrNull(reward));
  for (const double time_s : run.time_s) json["time_s"].push_back(NumberOrNull(time_s));
  for (const HeldOutRecord& one : run.held_out) {
    json["held_out"].push_back({{"step", one.step}, {"pass1", one.pass1}, {"low", one.low}, {"high", one.high}});
  }
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string LearningJson(const LearningStudyText& text, const LearningSummary& summary) {
  Json json = {{"study", text.title},
               {"runs", FinishedRuns(summary)},
               {"planned_runs", text.planned_runs},
               {"target_reward", NumberOrNull(summary.target_reward)},
               {"smallest_effect", text.smallest_effect},
               {"reward_steps", text.reward_steps},
               {"variants", Json::array()},
               {"differences", Json::array()}};
  for (const VariantFigures& variant : summary.variants) {
    Json one = {{"name", variant.name}, {"runs", variant.runs}};
    for (size_t o = 0; o < kOutcomes.size(); ++o) one[KeyOf(kOutcomes[o])] = Figures(variant.outcomes[o]);
    one["reached"] = variant.reached;
    one["median_step"] = NumberOrNull(variant.median_step);
    one["median_time_s"] = NumberOrNull(variant.median_time_s);
    one["time_s"] = NumberOrNull(variant.time_s);
    json["variants"].push_back(std::move(one));
  }
  for (const DifferenceFigures& difference : summary.differences) {
    Json one = {{"name", difference.name}, {"pairs", difference.pairs}};
    for (size_t o = 0; o < kOutcomes.size(); ++o) {
      const DifferenceFigures::Figures& figures = difference.outcomes[o];
      Json& outcome = one[KeyOf(kOutcomes[o])] = Figures(figures.difference);
      outcome["p_value"] = NumberOrNull(figures.p_value);
      outcome["power"] = NumberOrNull(figures.power);
      outcome["seeds_for_power_0.8"] = figures.seeds_needed > 0 ? Json(figures.seeds_needed) : Json();
    }
    json["differences"].push_back(std::move(one));
  }
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string LearningTable(const LearningStudyText& text, const LearningSummary& summary) {
  std::string out = absl::StrFormat("%d of %d runs; time to a reward of %s\n\n%-24s %5s", FinishedRuns(summary),
                                    text.planned_runs, NumberText(summary.target_reward, 4), "variant", "runs");
  for (const Outcome outcome : kOutcomes) absl::StrAppendFormat(&out, "  %-23s", TitleOf(outcome));
  absl::StrAppendFormat(&out, "  %-12s %s\n", "steps to it", "time to it");
  for (const VariantFigures& variant : summary.variants) {
    absl::StrAppendFormat(&out, "%-24s %5d", variant.name, variant.runs);
    for (const Interval& interval : variant.outcomes) absl::StrAppendFormat(&out, "  %-24s", Cell(interval, false));
    absl::StrAppendFormat(&out, " %-12s %s\n", MedianStep(variant), MedianTime(variant));
  }
  if (summary.differences.empty()) return out;
  absl::StrAppendFormat(&out, "\nless %s, paired by seed; power to find %s\n", summary.variants[0].name,
                        NumberText(text.smallest_effect, 3));
  for (const DifferenceFigures& one : summary.differences) {
    absl::StrAppendFormat(&out, "%-24s %5d", one.name, one.pairs);
    for (const DifferenceFigures::Figures& figures : one.outcomes) {
      absl::StrAppendFormat(&out, "  %-24s",
                            absl::StrCat(Cell(figures.difference, true), ", ", ShareText(figures.power)));
    }
    out += '\n';
  }
  return out;
}

std::string LearningPageHtml(const LearningStudyText& text, const LearningSummary& summary) {
  const std::string subtitle = absl::StrCat("Tactus ", ThisBuild().version, " (", ThisBuild().commit, ") · ",
                                            FinishedRuns(summary), " of ", text.planned_runs, " runs have finished");
  const std::string body =
      absl::StrCat(Curves(summary), VariantTable(text, summary), DifferenceTables(text, summary),
                   "<h2>Plan</h2>\n<details class=\"box\"><summary>As it was read</summary><pre tabindex=\"0\">",
                   EscapeHtml(text.plan), "</pre></details>\n");
  return HtmlPage(text.title, subtitle, kReportCss, body, "");
}

}  // namespace tactus
