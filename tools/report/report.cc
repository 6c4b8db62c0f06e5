#include "tools/report/report.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

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
#include "tools/job/train_display.h"
#include "tools/report/html_page.h"
#include "tools/report/report_assets.h"
#include "tools/report/report_chart.h"
#include "tools/report/rhythm_assets.h"
#include "tools/report/rhythm_page.h"

namespace tactus {
namespace {

constexpr size_t kFirstSamples = 4, kLastSamples = 16;
constexpr size_t kTrendSteps = 10;
constexpr size_t kMaxTableRows = 500;

using R = StepRecord;

std::vector<ChartSpec> Charts() {
  return {
      {"Reward", "mean of the batch, with its running mean", {{"reward", &R::reward_mean}}, true},
      {"Right answers",
       "share of completions, and of well-formed ones",
       {{"right", &R::correct_rate}, {"well-formed", &R::format_rate}},
       true},
      {"Held-out pass@1", "on prompts never trained on", {{"pass@1", &R::eval_pass1}}, false, true},
      {"Length", "mean completion, tokens", {{"tokens", &R::completion_tokens_mean}}, true},
      {"KL", "to the starting policy, k3, nats per token", {{"KL", &R::kl_k3}}, true},
      {"Entropy", "of the sampling distribution, nats per token", {{"entropy", &R::entropy_mean}}, true},
      {"Agreement",
       "|Δ log p| between actor and learner, nats",
       {{"mean", &R::mismatch_mean}, {"max", &R::mismatch_max}}},
      {"Staleness",
       "age of the samples when trained, versions",
       {{"mean", &R::staleness_mean}, {"max", &R::staleness_max}}},
      {"Throughput",
       "tokens per second",
       {{"generated", &R::tokens_generated_per_s}, {"trained", &R::tokens_trained_per_s}}},
      {"Step time",
       "seconds, and of them waiting for groups",
       {{"step", &R::step_time_s}, {"waiting", &R::phase_wait_s}}},
      {"Gradient norm", "before clipping", {{"norm", &R::grad_norm}}, true},
      {"Credit",
       "mean γ, and share of amplified tokens",
       {{"mean γ", &R::credit_mean}, {"amplified", &R::credit_amplified_share}}},
      {"Chosen tokens",
       "share each strategy would amplify, of audited completions",
       {{"global anchor", &R::credit_global_anchor_share}, {"coupled", &R::credit_coupled_share}},
       false,
       true},
      {"Overlap",
       "Jaccard of the tokens chosen; two random choices of a share q have q / (2 − q)",
       {{"coupled, entropy", &R::overlap_coupled_entropy}, {"local, global", &R::overlap_local_global}},
       false,
       true},
      {"WAAD peaks and entropy", "correlation", {{"correlation", &R::waad_peak_entropy_corr}}, false, true},
      {"WAAD",
       "windowed average attention distance, tokens",
       {{"median", &R::waad_p50}, {"0.9 quantile", &R::waad_p90}},
       false,
       true},
      {"FAI",
       "future attention influence, share of attention",
       {{"median", &R::fai_p50}, {"0.9 quantile", &R::fai_p90}},
       false,
       true},
      {"Age of γ",
       "versions between its attention and training",
       {{"mean", &R::gamma_version_lag_mean}, {"max", &R::gamma_version_lag_max}}},
  };
}

double Mean(const std::vector<R>& steps, size_t begin, size_t end, double R::*member) {
  double sum = 0;
  for (size_t i = begin; i < end; ++i) sum += steps[i].*member;
  return end > begin ? sum / static_cast<double>(end - begin) : 0;
}

std::string Tile(absl::string_view value, absl::string_view label, absl::string_view css = "") {
  return absl::StrCat("<div class=\"tile\"><b class=\"", css, "\">", value, "</b><span>", label, "</span></div>\n");
}

std::string Tiles(const std::vector<R>& steps) {
  if (steps.empty()) return "<p>No step has finished yet.</p>\n";
  const size_t n = steps.size(), few = std::min(kTrendSteps, n);
  const double first = Mean(steps, 0, few, &R::reward_mean), last = Mean(steps, n - few, n, &R::reward_mean);
  double worst = 0, pass_first = std::nan(""), pass_last = std::nan("");
  for (const R& step : steps) {
    if (std::isfinite(step.mismatch_max)) worst = std::max(worst, step.mismatch_max);
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
  out += Tile(NumberText(worst, 2), "largest |Δ log p|, nats");
  return out + "</div>\n";
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
    out += "<h2>Curves</h2>\n<div class=\"charts\">\n";
    for (const ChartSpec& spec : Charts()) {
      const bool any = std::any_of(data.steps.begin(), data.steps.end(),
                                   [&spec](const R& step) { return std::isfinite(step.*spec.series.front().member); });
      if (any) out += ChartHtml(spec, data.steps);
    }
    out += "</div>\n" + Table(data.steps);
  }
  if (!data.answers.empty()) {
    std::vector<RhythmAnswer> answers;
    absl::StrAppend(&out, "<h2>Completions</h2>\n", RhythmSection(data.answers));
  }
  if (!data.config_text.empty()) {
    absl::StrAppend(
        &out,
        "<h2>Configuration</h2>\n<details class=\"box\"><summary>Every field, resolved</summary><pre tabindex=\"0\">",
        EscapeHtml(data.config_text), "</pre></details>\n");
  }
  return HtmlPage(data.title, subtitle, kRhythmStyle, out, absl::StrCat(kReportScript, kRhythmScript));
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
