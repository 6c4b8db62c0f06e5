#include "tools/job/train_display.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "tools/report/html_page.h"

namespace tactus {
namespace {

constexpr size_t kRecentSteps = 20;
constexpr size_t kSparkWidth = 40;
constexpr size_t kBarWidth = 24;

// " (+0.125)", or nothing while there is nothing to compare.
std::string GainText(double gain, absl::string_view form) {
  return std::isfinite(gain) ? absl::StrReplaceAll(form, {{"%", absl::StrFormat("%+.3f", gain)}}) : "";
}

// A line that names the numbers shown as "—" and says why there are none; empty if there are all.
std::string AbsentLine(const StepRecord& record) {
  std::map<std::string, std::string> names;  // by reason
  for (const char* key : {"kl_k3", "grad_norm", "clip_fraction", "mismatch_mean"}) {
    const StepField& field = *FindStepField(key);
    if (std::isfinite(record.*field.member)) continue;
    std::string& all = names[field.absent];
    absl::StrAppend(&all, all.empty() ? "" : ", ", key);
  }
  return absl::StrJoin(
      names, "; ", [](std::string* out, const auto& one) { absl::StrAppend(out, "no ", one.second, ": ", one.first); });
}

std::string Bar(double share) {
  const size_t full = static_cast<size_t>(std::clamp(share, 0.0, 1.0) * kBarWidth + 0.5);
  std::string bar;
  for (size_t i = 0; i < kBarWidth; ++i) bar += i < full ? "█" : "░";
  return bar;
}

}  // namespace

std::string Sparkline(const std::vector<double>& values, size_t width) {
  static constexpr const char* kBars[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  if (values.empty() || width == 0) return "";
  std::vector<double> columns;
  const size_t count = std::min(width, values.size());
  for (size_t i = 0; i < count; ++i) {
    const size_t begin = i * values.size() / count, end = (i + 1) * values.size() / count;
    double sum = 0;
    for (size_t j = begin; j < end; ++j) sum += values[j];
    columns.push_back(sum / static_cast<double>(end - begin));
  }
  double low = INFINITY, high = -INFINITY;
  for (const double value : columns) {
    if (std::isfinite(value)) low = std::min(low, value), high = std::max(high, value);
  }
  std::string out;
  for (const double value : columns) {
    if (!std::isfinite(value)) {
      out += " ";
    } else {
      out += kBars[high > low ? static_cast<int>(std::lround((value - low) / (high - low) * 7)) : 3];
    }
  }
  return out;
}

void TrainDisplay::AddStep(const StepRecord& record) {
  steps_.push_back(record);
  if (!options_.terminal) std::fprintf(options_.out, "%s\n", PlainLine().c_str());
}

double TrainDisplay::SecondsLeft() const {
  if (steps_.empty()) return -1;
  const size_t count = std::min(kRecentSteps, steps_.size());
  double seconds = 0;
  for (size_t i = steps_.size() - count; i < steps_.size(); ++i) seconds += steps_[i].step_time_s;
  return seconds / static_cast<double>(count) * static_cast<double>(options_.total_steps - steps_.back().step);
}

double TrainDisplay::RewardGain() const {
  const StepTrend trend = TrendOf(steps_, &StepRecord::reward_mean);
  return trend.last - trend.first;
}

std::string TrainDisplay::PlainLine() const {
  const StepRecord& r = steps_.back();
  std::string line = absl::StrFormat(
      "step %d/%d  reward %.3f%s  correct %.3f  generated %.0f tok/s  trained %.0f tok/s", r.step, options_.total_steps,
      r.reward_mean, GainText(RewardGain(), " (%)"), r.correct_rate, r.tokens_generated_per_s, r.tokens_trained_per_s);
  if (std::isfinite(r.kl_k3)) absl::StrAppend(&line, "  KL ", ValueText(Unit::kNats, r.kl_k3));
  if (std::isfinite(r.mismatch_mean)) {
    absl::StrAppend(&line, "  mismatch mean ", ValueText(Unit::kNats, r.mismatch_mean), " max ",
                    ValueText(Unit::kNats, r.mismatch_max));
  }
  absl::StrAppendFormat(&line, "  staleness %.1f  actors %.0f  left %s", r.staleness_mean, r.actors_connected,
                        DurationText(SecondsLeft()));
  if (std::isfinite(r.eval_pass1)) absl::StrAppend(&line, absl::StrFormat("  pass@1 %.3f", r.eval_pass1));
  return line;
}

std::vector<std::string> TrainDisplay::Block() const {
  if (steps_.empty()) {
    return {
        absl::StrFormat(" \033[1m%s\033[0m  waiting for the first step  %d actors running", options_.title, running_)};
  }
  const StepRecord& r = steps_.back();
  std::vector<double> rewards;
  double pass1 = std::nan("");
  for (const StepRecord& step : steps_) {
    rewards.push_back(step.reward_mean);
    if (std::isfinite(step.eval_pass1)) pass1 = step.eval_pass1;
  }
  const double share = static_cast<double>(r.step) / static_cast<double>(std::max<int64_t>(1, options_.total_steps));
  std::vector<std::string> lines;
  lines.push_back(absl::StrFormat(" \033[1m%s\033[0m  step %d/%d  %s %3.0f %%  %s left", options_.title, r.step,
                                  options_.total_steps, Bar(share), 100 * share, DurationText(SecondsLeft())));
  lines.push_back(absl::StrFormat(" reward     \033[1m%.3f\033[0m  \033[36m%s\033[0m%s", r.reward_mean,
                                  Sparkline(rewards, kSparkWidth), GainText(RewardGain(), "  % since the start")));
  lines.push_back(absl::StrFormat(" answers    correct %.3f   length %.0f   equal groups %.0f %%%s", r.correct_rate,
                                  r.completion_tokens_mean, 100 * r.zero_signal_share,
                                  std::isfinite(pass1) ? absl::StrFormat("   held-out pass@1 %.3f", pass1) : ""));
  lines.push_back(absl::StrFormat(" tokens/s   generated %.0f   trained %.0f   step %.2f s (waited %.2f s)",
                                  r.tokens_generated_per_s, r.tokens_trained_per_s, r.step_time_s, r.phase_wait_s));
  lines.push_back(absl::StrCat(
      " policy     KL ", ValueText(Unit::kNats, r.kl_k3), "   entropy ", ValueText(Unit::kNats, r.entropy_mean),
      "   gradient ", ValueText(Unit::kNumber, r.grad_norm), "   clipped ", ValueText(Unit::kRatio, r.clip_fraction)));
  lines.push_back(absl::StrFormat(" agreement  |Δ log p| mean %s max %s   staleness %.1f (max %.0f)",
                                  ValueText(Unit::kNats, r.mismatch_mean), ValueText(Unit::kNats, r.mismatch_max),
                                  r.staleness_mean, r.staleness_max));
  lines.push_back(absl::StrFormat(
      " actors     %.0f connected, %d running, %d restarts   \033[2mCtrl-C checkpoints and stops\033[0m",
      r.actors_connected, running_, restarts_));
  const std::string absent = AbsentLine(r);
  if (!absent.empty()) lines.push_back(absl::StrCat(" \033[2m", absent, "\033[0m"));
  return lines;
}

void TrainDisplay::Note(absl::string_view text) {
  std::string out;
  if (drawn_lines_ > 0) out = absl::StrFormat("\033[%dA\r\033[J", drawn_lines_);
  drawn_lines_ = 0;
  absl::StrAppend(&out, text, "\n");
  std::fwrite(out.data(), 1, out.size(), options_.out);
  Redraw();
}

void TrainDisplay::Redraw() {
  if (!options_.terminal) return;
  std::string out;
  if (drawn_lines_ > 0) out = absl::StrFormat("\033[%dA\r", drawn_lines_);
  const std::vector<std::string> lines = Block();
  // No wrapping while the block is drawn: a wrapped line would spoil the count of lines to go back.
  out += "\033[?7l";
  for (const std::string& line : lines) absl::StrAppend(&out, line, "\033[K\n");
  out += "\033[?7h";
  drawn_lines_ = lines.size();
  std::fwrite(out.data(), 1, out.size(), options_.out);
  std::fflush(options_.out);
}

void TrainDisplay::Finish() {
  Redraw();
  drawn_lines_ = 0;
}

}  // namespace tactus
