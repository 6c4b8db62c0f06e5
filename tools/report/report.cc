#include "tools/report/report.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/paths.h"
#include "common/base/status_macros.h"
#include "common/config/run_config.h"
#include "common/metrics/build_info.h"
#include "common/metrics/held_out.h"
#include "common/rhythm/rhythm.h"
#include "tools/report/html_page.h"
#include "tools/report/report_chart.h"
#include "tools/report/rhythm_page.h"
#include "tools/report/timeline_chart.h"
#include "tools/report/web/report.css.h"
#include "tools/report/web/rhythm.css.h"
#include "tools/report/web/rhythm.js.h"

namespace tactus {
namespace {

constexpr size_t kFirstSamples = 4, kLastSamples = 16;
constexpr size_t kMaxTableRows = 500;
constexpr size_t kTimelineSteps = 6;

using R = StepRecord;

// How a chart of the records' rows is drawn for these steps.
ChartSpec SpecOf(const StepChart& chart, const std::vector<R>& steps) {
  const StepField& first = *chart.fields.front();
  ChartSpec spec = {.title = chart.title, .help = "", .unit = UnitText(first.unit), .series = {}};
  for (const StepField* field : chart.fields) {
    absl::StrAppend(&spec.help, spec.help.empty() ? "" : "; ", field->help);
    if (field->unit != first.unit) spec.unit = "";
    ChartSeries& series = spec.series.emplace_back(ChartSeries{.label = field->label, .member = field->member});
    if (field->absent != nullptr) series.absent = field->absent;
  }
  const auto measured =
      std::ranges::count_if(steps, [&first](const R& step) { return std::isfinite(step.*first.member); });
  spec.sparse = 2 * static_cast<size_t>(measured) < steps.size();
  spec.trend = !spec.sparse && absl::string_view(first.folder) == "train";
  return spec;
}

// Of the finite ones, or NaN.
double Mean(const std::vector<R>& steps, double R::*member) {
  double sum = 0;
  int finite = 0;
  for (const R& step : steps) {
    if (std::isfinite(step.*member)) sum += step.*member, ++finite;
  }
  return finite > 0 ? sum / finite : std::nan("");
}

std::string Tile(absl::string_view value, absl::string_view label, absl::string_view css = "") {
  return absl::StrCat("<div class=\"tile\"><b class=\"", css, "\">", value, "</b><span>", label, "</span></div>\n");
}

std::string Tiles(const std::vector<R>& steps) {
  if (steps.empty()) return "<p>No step has finished yet.</p>\n";
  const StepTrend reward = TrendOf(steps, &R::reward_mean);
  double worst = std::nan(""), pass_first = std::nan(""), pass_last = std::nan("");
  for (const R& step : steps) {
    if (std::isfinite(step.mismatch_max)) worst = std::fmax(worst, step.mismatch_max);
    if (std::isfinite(step.eval_pass1)) {
      if (std::isnan(pass_first)) pass_first = step.eval_pass1;
      pass_last = step.eval_pass1;
    }
  }
  std::string out = "<div class=\"tiles\">\n";
  if (reward.steps > 0) {
    out +=
        Tile(absl::StrFormat("%.3f → %.3f", reward.first, reward.last),
             absl::StrFormat("reward, first and last %d steps", reward.steps), reward.last > reward.first ? "up" : "");
  }
  if (std::isfinite(pass_last)) {
    out += Tile(absl::StrFormat("%.3f → %.3f", pass_first, pass_last), "held-out pass@1, first and last",
                pass_last > pass_first ? "up" : "");
  }
  out += Tile(absl::StrCat(steps.back().step), "steps");
  out += Tile(DurationText(steps.back().time_s), "run time");
  const std::pair<double R::*, const char*> rates[] = {{&R::tokens_generated_per_s, "tokens sampled per second"},
                                                       {&R::tokens_trained_per_s, "tokens trained per second"}};
  for (const auto& [member, label] : rates) {
    const double mean = Mean(steps, member);
    if (std::isfinite(mean)) out += Tile(absl::StrFormat("%.0f", mean), label);
  }
  if (std::isfinite(worst)) out += Tile(NumberText(worst, 2), "largest |Δ log p|, nats");
  return out + "</div>\n";
}

// The charts that have numbers, and why the others have none.
std::string Curves(const std::vector<R>& steps) {
  std::string charts, missing;
  for (const StepChart& chart : StepCharts()) {
    const ChartSpec spec = SpecOf(chart, steps);
    if (HasValues(spec, steps)) {
      charts += ChartHtml(spec, steps);
    } else {
      absl::StrAppend(&missing, "<dt>", EscapeHtml(spec.title),
                      "</dt><dd>not measured: ", EscapeHtml(spec.series.front().absent), "</dd>");
    }
  }
  return absl::StrCat("<h2>Curves</h2>\n<div class=\"charts\">\n", charts, "</div>\n",
                      missing.empty() ? "" : absl::StrCat("<dl class=\"missing\">", missing, "</dl>\n"));
}

// Without the fields of which no step has a value.
std::vector<StepField> TableColumns(const std::vector<R>& steps) {
  std::vector<StepField> columns;
  for (const StepField& field : StepFields()) {
    const auto has = [&field](const R& step) { return std::isfinite(step.*field.member); };
    if (std::ranges::any_of(steps, has)) columns.push_back(field);
  }
  return columns;
}

std::string Table(const std::vector<R>& steps) {
  const std::vector<StepField> columns = TableColumns(steps);
  std::string out =
      "<details class=\"box\"><summary>All numbers as a table</summary><div class=\"scroll\" "
      "tabindex=\"0\"><table><thead><tr><th scope=\"col\">step</th>";
  for (const StepField& field : columns) {
    absl::StrAppend(&out, "<th scope=\"col\" title=\"", EscapeHtml(field.help), "\">", field.key, "</th>");
  }
  out += "</tr></thead><tbody>\n";
  const size_t stride = (steps.size() + kMaxTableRows - 1) / kMaxTableRows;
  for (size_t i = 0; i < steps.size(); i += stride) {
    absl::StrAppend(&out, "<tr><th scope=\"row\">", steps[i].step, "</th>");
    for (const StepField& field : columns) {
      const double value = steps[i].*field.member;
      absl::StrAppend(&out, "<td>", std::isfinite(value) ? NumberText(value, 4) : "–", "</td>");
    }
    out += "</tr>\n";
  }
  absl::StrAppend(&out, "</tbody></table></div>", stride > 1 ? absl::StrCat("<p>Every ", stride, "th step.</p>") : "",
                  "</details>\n");
  return out;
}

std::string IntervalText(double value, double low, double high) {
  return absl::StrFormat("%.3f [%.3f, %.3f]", value, low, high);
}

// Every measurement on held-out prompts, set by set.
std::string HeldOutTable(std::vector<HeldOutRecord> measured) {
  if (measured.empty()) return "";
  std::ranges::stable_sort(measured, {}, &HeldOutRecord::set);
  std::string out =
      "<h2>Held-out prompts</h2>\n<div class=\"scroll\" tabindex=\"0\"><table><thead><tr><th scope=\"col\">set</th>"
      "<th scope=\"col\">after step</th><th scope=\"col\">answers to each, k</th><th scope=\"col\">temperature</th>"
      "<th scope=\"col\">pass@1, mean of k</th><th scope=\"col\">pass@k</th></tr></thead><tbody>\n";
  const size_t stride = (measured.size() + kMaxTableRows - 1) / kMaxTableRows;
  for (size_t i = 0; i < measured.size(); i += stride) {
    const HeldOutRecord& one = measured[i];
    const bool told = one.samples > 0;
    absl::StrAppend(&out, "<tr><th scope=\"row\">", EscapeHtml(config::EvalSetName(one.set)), "</th><td>", one.step,
                    "</td><td>", told ? absl::StrCat(one.samples) : "–", "</td><td>",
                    told ? absl::StrCat(one.temperature) : "–", "</td><td>", IntervalText(one.pass1, one.low, one.high),
                    "</td><td>", one.samples > 1 ? IntervalText(one.pass_k, one.pass_k_low, one.pass_k_high) : "–",
                    "</td></tr>\n");
  }
  absl::StrAppend(&out,
                  "</tbody></table></div>\n<p>Of each pair of brackets the truth is within in 95 % of cases.</p>\n");
  return out;
}

// What was trained of each of task.sources, over the whole run; with its first and its last steps.
std::string SourcesTable(const std::vector<R>& steps) {
  struct Source {
    double groups = 0;
    std::vector<R> steps;
  };
  std::map<std::string, Source> sources;
  double all = 0;
  for (const R& step : steps) {
    for (const SourceStep& one : step.sources) {
      Source& source = sources[one.name];
      source.groups += one.groups;
      all += one.groups;
      R& alone = source.steps.emplace_back();
      alone.reward_mean = one.reward_mean;
      alone.correct_rate = one.correct_rate;
    }
  }
  if (sources.empty()) return "";
  std::string out =
      "<h2>Sources</h2>\n<div class=\"scroll\" tabindex=\"0\"><table><thead><tr><th scope=\"col\">source</th>"
      "<th scope=\"col\">groups trained</th><th scope=\"col\">share</th><th scope=\"col\">mean reward, first and last "
      "steps</th><th scope=\"col\">right, first and last steps</th></tr></thead><tbody>\n";
  const auto trend = [](const Source& source, double R::*member) {
    const StepTrend ends = TrendOf(source.steps, member);
    return ends.steps == 0 ? "–" : absl::StrFormat("%.3f, %.3f", ends.first, ends.last);
  };
  for (const auto& [name, source] : sources) {
    absl::StrAppend(&out, "<tr><th scope=\"row\">", EscapeHtml(name), "</th><td>", source.groups, "</td><td>",
                    absl::StrFormat("%.3f", source.groups / all), "</td><td>", trend(source, &R::reward_mean),
                    "</td><td>", trend(source, &R::correct_rate), "</td></tr>\n");
  }
  return out + "</tbody></table></div>\n";
}

// [T], 0 for what the model did not say.
std::vector<double> SampleDelta(const SampleRecord& sample) {
  if (sample.sampled.empty() || sample.waad.empty()) return DeltaOf(sample.waad);
  std::vector<double> waad, delta(sample.waad.size(), 0.0);
  for (const int32_t t : sample.sampled) waad.push_back(sample.waad[static_cast<size_t>(t)]);
  const std::vector<double> of_sampled = DeltaOf(waad, sample.sampled);
  for (size_t i = 0; i < of_sampled.size(); ++i) delta[static_cast<size_t>(sample.sampled[i])] = of_sampled[i];
  return delta;
}

}  // namespace

RhythmAnswer AnswerOf(const SampleRecord& sample) {
  RhythmAnswer answer;
  answer.title = absl::StrFormat("step %d · prompt %d · completion %d · reward %.3g", sample.step, sample.prompt_id,
                                 sample.completion, sample.reward);
  if (!sample.source.empty()) absl::StrAppend(&answer.title, " · source ", sample.source);
  answer.verdict = absl::StrCat(sample.correct ? "right" : "wrong", sample.reason.empty() ? "" : ": ", sample.reason);
  answer.good = sample.correct;
  answer.prompt = sample.prompt;
  answer.tokens = sample.tokens;
  answer.credits = {{.strategy = "", .gamma = sample.gamma}};
  answer.waad = sample.waad;
  answer.delta = SampleDelta(sample);
  answer.fai = sample.fai;
  answer.entropy = sample.entropy;
  answer.logprobs = sample.logprobs;
  answer.heads = {
      .layers = sample.layers, .span = sample.span, .local = sample.local_heads, .global = sample.global_heads};
  return answer;
}

std::string ReportHtml(const ReportData& data) {
  const std::string subtitle =
      absl::StrCat("Tactus ", ThisBuild().version, " (", ThisBuild().commit, ")",
                   data.steps.empty() ? "" : absl::StrCat(" · policy version ", EscapeHtml(data.steps.back().version)),
                   " · written ", absl::FormatTime("%Y-%m-%d %H:%M", absl::Now(), absl::LocalTimeZone()));
  std::string out = Tiles(data.steps);
  if (data.best.has_value()) {
    absl::StrAppend(&out, "<p>Best checkpoint: <code>", EscapeHtml(data.best->path), "</code>, held-out pass@1 ",
                    absl::StrFormat("%.3f [%.3f, %.3f] after step %d</p>\n", data.best->held_out.pass1,
                                    data.best->held_out.low, data.best->held_out.high, data.best->held_out.step));
  }
  if (!data.steps.empty()) {
    out += Curves(data.steps) + SourcesTable(data.steps) + HeldOutTable(data.held_out) + TimelineHtml(data.timeline) +
           Table(data.steps);
  }
  if (!data.answers.empty()) {
    absl::StrAppend(&out, "<h2>Completions</h2>\n", RhythmSection(data.answers));
  }
  if (!data.config_text.empty()) {
    absl::StrAppend(
        &out,
        "<h2>Configuration</h2>\n<details class=\"box\"><summary>Every field, resolved</summary><pre tabindex=\"0\">",
        EscapeHtml(data.config_text), "</pre></details>\n");
  }
  return HtmlPage(data.title, subtitle, absl::StrCat(kReportCss, kRhythmCss), out, kRhythmJs);
}

absl::Status WriteReport(const RunFolder& folder, const std::string& path, const EnrichAnswers& enrich) {
  ReportData data;
  data.title = NameOf(folder.root);
  ASSIGN_OR_RETURN(data.steps, ReadSteps(folder.metrics()));
  ASSIGN_OR_RETURN(data.held_out, ReadHeldOutSets(folder.held_out()));
  for (StepRecord& step : data.steps) JoinHeldOut(data.held_out, &step);
  ASSIGN_OR_RETURN(data.best, FindBestCheckpoint(folder));
  ASSIGN_OR_RETURN(data.timeline, ReadTimeline(folder.timeline(), kTimelineSteps));
  ASSIGN_OR_RETURN(const std::vector<SampleRecord> samples, ReadSamples(folder.samples(), kFirstSamples, kLastSamples));
  for (const SampleRecord& sample : samples) data.answers.push_back(AnswerOf(sample));
  if (enrich) {
    const absl::Status enriched = enrich(folder, samples, data.answers);
    if (!enriched.ok()) TACTUS_LOG(WARNING) << "the report shows no attention images: " << enriched.message();
  }
  if (Exists(folder.config())) {
    ASSIGN_OR_RETURN(data.config_text, ReadFile(folder.config(), size_t{1} << 20));
  }
  return WriteFileAtomic(path, ReportHtml(data));
}

}  // namespace tactus
