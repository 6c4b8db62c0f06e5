#include "tools/report/report.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/metrics/build_info.h"
#include "common/metrics/held_out.h"
#include "common/rhythm/rhythm.h"
#include "tools/report/html_page.h"
#include "tools/report/report_chart.h"
#include "tools/report/rhythm_page.h"
#include "tools/report/web/report.css.h"
#include "tools/report/web/rhythm.css.h"
#include "tools/report/web/rhythm.js.h"

namespace tactus {
namespace {

constexpr size_t kFirstSamples = 4, kLastSamples = 16;
constexpr size_t kTrendSteps = 10;
constexpr size_t kMaxTableRows = 500;

using R = StepRecord;

constexpr char kNoAudit[] = "no answer of the batch carried its raw metrics (credit.audit_share)";
constexpr char kNoEvaluation[] = "no held-out evaluation belongs to the step (eval.max_prompts)";
constexpr char kNoReference[] = "no reference policy is kept, as algorithm.kl_beta is 0";
constexpr char kNotCompared[] =
    "no token was compared: none was computed, or rollout.top_p or top_k changes what is sampled";

// What every step measures.
std::vector<ChartSpec> StepCharts() {
  return {
      {"Reward", "mean of the batch", "", {{"reward", &R::reward_mean}}, true},
      {"Right answers",
       "share of completions, and of well-formed ones",
       "ratio",
       {{"right", &R::correct_rate}, {"well-formed", &R::format_rate}},
       true},
      {"Held-out pass@1",
       "on prompts never trained on",
       "ratio",
       {{"pass@1", &R::eval_pass1, kNoEvaluation}},
       false,
       true},
      {"Length", "mean completion", "tokens", {{"length", &R::completion_tokens_mean}}, true},
      {"KL", "to the starting policy, k3", "nats per token", {{"KL", &R::kl_k3, kNoReference}}, true},
      {"Entropy", "of the sampling distribution", "nats per token", {{"entropy", &R::entropy_mean}}, true},
      {"Agreement",
       "|Δ log p| between actor and learner",
       "nats",
       {{"mean", &R::mismatch_mean, kNotCompared}, {"max", &R::mismatch_max, kNotCompared}}},
      {"Staleness",
       "age of the samples when trained",
       "versions",
       {{"mean", &R::staleness_mean}, {"max", &R::staleness_max}}},
      {"Throughput",
       "of actors and learner",
       "tokens per second",
       {{"generated", &R::tokens_generated_per_s}, {"trained", &R::tokens_trained_per_s}}},
      {"Step time",
       "and how much of it the learner waited for groups",
       "seconds",
       {{"step", &R::step_time_s}, {"waiting", &R::phase_wait_s}}},
      {"Gradient norm", "before clipping", "", {{"norm", &R::grad_norm}}, true},
      {"Credit",
       "mean γ, and share of amplified tokens",
       "",
       {{"mean γ", &R::credit_mean}, {"amplified", &R::credit_amplified_share}}},
      {"Age of γ",
       "between its attention and training",
       "versions",
       {{"mean", &R::gamma_version_lag_mean}, {"max", &R::gamma_version_lag_max}}},
  };
}

// What is measured of audited completions alone.
std::vector<ChartSpec> AuditCharts() {
  return {
      {"Chosen tokens",
       "share each strategy would amplify, of audited completions",
       "ratio",
       {{"global anchor", &R::credit_global_anchor_share, kNoAudit}, {"coupled", &R::credit_coupled_share, kNoAudit}},
       false,
       true},
      {"Overlap",
       "Jaccard of the tokens chosen; two random choices of a share q have q / (2 − q)",
       "",
       {{"coupled, entropy", &R::overlap_coupled_entropy, kNoAudit},
        {"local, global", &R::overlap_local_global, kNoAudit}},
       false,
       true},
      {"WAAD peaks and entropy",
       "correlation",
       "",
       {{"correlation", &R::waad_peak_entropy_corr, kNoAudit}},
       false,
       true},
      {"WAAD",
       "windowed average attention distance",
       "tokens",
       {{"median", &R::waad_p50, kNoAudit}, {"0.9 quantile", &R::waad_p90, kNoAudit}},
       false,
       true},
      {"FAI",
       "future attention influence, share of attention",
       "",
       {{"median", &R::fai_p50, kNoAudit}, {"0.9 quantile", &R::fai_p90, kNoAudit}},
       false,
       true},
  };
}

// Of the finite ones, or NaN.
double Mean(const std::vector<R>& steps, size_t begin, size_t end, double R::*member) {
  double sum = 0;
  int finite = 0;
  for (size_t i = begin; i < end; ++i) {
    if (std::isfinite(steps[i].*member)) sum += steps[i].*member, ++finite;
  }
  return finite > 0 ? sum / finite : std::nan("");
}

std::string Tile(absl::string_view value, absl::string_view label, absl::string_view css = "") {
  return absl::StrCat("<div class=\"tile\"><b class=\"", css, "\">", value, "</b><span>", label, "</span></div>\n");
}

std::string Tiles(const std::vector<R>& steps) {
  if (steps.empty()) return "<p>No step has finished yet.</p>\n";
  const size_t n = steps.size(), few = std::min(kTrendSteps, n);
  const double first = Mean(steps, 0, few, &R::reward_mean), last = Mean(steps, n - few, n, &R::reward_mean);
  double worst = std::nan(""), pass_first = std::nan(""), pass_last = std::nan("");
  for (const R& step : steps) {
    if (std::isfinite(step.mismatch_max)) worst = std::fmax(worst, step.mismatch_max);
    if (std::isfinite(step.eval_pass1)) {
      if (std::isnan(pass_first)) pass_first = step.eval_pass1;
      pass_last = step.eval_pass1;
    }
  }
  std::string out = "<div class=\"tiles\">\n";
  out += Tile(absl::StrFormat("%.3f → %.3f", first, last), absl::StrFormat("reward, first and last %d steps", few),
              last > first ? "up" : "");
  if (std::isfinite(pass_last)) {
    out += Tile(absl::StrFormat("%.3f → %.3f", pass_first, pass_last), "held-out pass@1, first and last",
                pass_last > pass_first ? "up" : "");
  }
  out += Tile(absl::StrCat(steps.back().step), "steps");
  out += Tile(DurationText(steps.back().time_s), "run time");
  out += Tile(absl::StrFormat("%.0f", Mean(steps, 0, n, &R::tokens_generated_per_s)), "tokens sampled per second");
  out += Tile(absl::StrFormat("%.0f", Mean(steps, 0, n, &R::tokens_trained_per_s)), "tokens trained per second");
  if (std::isfinite(worst)) out += Tile(NumberText(worst, 2), "largest |Δ log p|, nats");
  return out + "</div>\n";
}

// The charts that have numbers, and why the others have none.
std::string Curves(const std::vector<R>& steps) {
  std::string charts, missing;
  std::vector<ChartSpec> specs = StepCharts();
  for (ChartSpec& spec : AuditCharts()) specs.push_back(std::move(spec));
  for (const ChartSpec& spec : specs) {
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

std::string Table(const std::vector<R>& steps) {
  std::string out =
      "<details class=\"box\"><summary>All numbers as a table</summary><div class=\"scroll\" "
      "tabindex=\"0\"><table><thead><tr><th scope=\"col\">step</th>";
  for (const StepField& field : StepFields()) {
    absl::StrAppend(&out, "<th scope=\"col\" title=\"", EscapeHtml(field.help), "\">", field.key, "</th>");
  }
  out += "</tr></thead><tbody>\n";
  const size_t stride = (steps.size() + kMaxTableRows - 1) / kMaxTableRows;
  for (size_t i = 0; i < steps.size(); i += stride) {
    absl::StrAppend(&out, "<tr><th scope=\"row\">", steps[i].step, "</th>");
    for (const StepField& field : StepFields()) {
      const double value = steps[i].*field.member;
      absl::StrAppend(&out, "<td>", std::isfinite(value) ? NumberText(value, 4) : "–", "</td>");
    }
    out += "</tr>\n";
  }
  absl::StrAppend(&out, "</tbody></table></div>", stride > 1 ? absl::StrCat("<p>Every ", stride, "th step.</p>") : "",
                  "</details>\n");
  return out;
}

}  // namespace

RhythmAnswer AnswerOf(const SampleRecord& sample) {
  RhythmAnswer answer;
  answer.title = absl::StrFormat("step %d · prompt %d · completion %d · reward %.3g", sample.step, sample.prompt_id,
                                 sample.completion, sample.reward);
  answer.verdict = absl::StrCat(sample.correct ? "right" : "wrong", sample.reason.empty() ? "" : ": ", sample.reason);
  answer.good = sample.correct;
  answer.prompt = sample.prompt;
  answer.tokens = sample.tokens;
  answer.credits = {{.strategy = "", .gamma = sample.gamma}};
  answer.waad = sample.waad;
  answer.delta = DeltaOf(sample.waad);
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
  if (!data.steps.empty()) {
    out += Curves(data.steps) + Table(data.steps);
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
  data.title = std::filesystem::absolute(folder.root).lexically_normal().filename().string();
  if (data.title.empty())
    data.title = std::filesystem::absolute(folder.root).lexically_normal().parent_path().filename().string();
  ASSIGN_OR_RETURN(data.steps, ReadSteps(folder.metrics()));
  ASSIGN_OR_RETURN(const std::vector<HeldOutRecord> held_out, ReadHeldOut(folder.held_out()));
  for (StepRecord& step : data.steps) JoinHeldOut(held_out, &step);
  ASSIGN_OR_RETURN(const std::vector<SampleRecord> samples, ReadSamples(folder.samples(), kFirstSamples, kLastSamples));
  for (const SampleRecord& sample : samples) data.answers.push_back(AnswerOf(sample));
  if (enrich) {
    const absl::Status enriched = enrich(folder, samples, data.answers);
    if (!enriched.ok()) TACTUS_LOG(WARNING) << "the report shows no attention images: " << enriched.message();
  }
  if (std::filesystem::exists(folder.config())) {
    ASSIGN_OR_RETURN(data.config_text, ReadFile(folder.config(), size_t{1} << 20));
  }
  return WriteFileAtomic(path, ReportHtml(data));
}

}  // namespace tactus
