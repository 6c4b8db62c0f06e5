#include "tools/top/panels.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "common/metrics/step_record.h"

namespace tactus::top {
namespace {

using Kind = Term::Kind;
using Fold = Term::Fold;

constexpr Term Value(absl::string_view metric, absl::string_view label = "", absl::string_view value = "",
                     Fold fold = Fold::kSum) {
  return {.kind = Kind::kValue, .metric = metric, .label = label, .value = value, .fold = fold};
}
constexpr Term Rate(absl::string_view metric, absl::string_view label = "", absl::string_view value = "") {
  return {.kind = Kind::kRate, .metric = metric, .label = label, .value = value};
}
constexpr Term Age(absl::string_view metric) { return {.kind = Kind::kAge, .metric = metric, .fold = Fold::kMax}; }
constexpr Term Quantile(double q, absl::string_view metric) {
  return {.kind = Kind::kQuantile, .metric = metric, .quantile = q};
}

constexpr absl::string_view kPhaseSeconds = "tactus_learner_phase_seconds_total";
constexpr absl::string_view kBlockedSeconds = "tactus_actor_blocked_seconds_total";

// The panel of a step's number.
Panel Of(const char* key, absl::string_view id, absl::string_view group, absl::string_view title, Fold fold) {
  const StepField& field = *FindStepField(key);
  const StepSeries& series = field.series;
  return {.id = id,
          .group = group,
          .title = title,
          .unit = field.unit,
          .over = Value(series.metric, series.label == nullptr ? "" : series.label,
                        series.label == nullptr ? "" : series.value, fold),
          .absent = field.absent == nullptr ? "" : field.absent};
}

std::vector<Panel> MakePanels() {
  return {
      Of("reward_mean", "reward", "learning", "reward", Fold::kMean),
      {"correct", "learning", "right answers", Unit::kRatio,
       Rate("tactus_trajectory_verdicts_total", "verdict", "pass"), Rate("tactus_trajectory_verdicts_total")},
      Of("eval_pass1", "held_out", "learning", "held-out pass@1", Fold::kMax),
      {"step", "learning", "learner step", Unit::kNumber, Value("tactus_learner_step", "", "", Fold::kMax)},
      {"generated", "throughput", "generated tokens", Unit::kPerSecond,
       Rate("tactus_actor_tokens_total", "kind", "completion")},
      {"trained", "throughput", "trained tokens", Unit::kPerSecond,
       Rate("tactus_learner_tokens_total", "kind", "completion")},
      {"accepted", "throughput", "accepted answers", Unit::kPerSecond, Rate("tactus_trajectories_accepted_total")},
      // Of the learner's whole life: a window that is shorter than a step would show 0, or far too many.
      {"steps_per_hour", "throughput", "steps", Unit::kPerHour, Value("tactus_learner_step_duration_seconds_count"),
       Value("tactus_learner_step_duration_seconds_sum"), "", 3600},
      {"learner_phases", "waiting", "learner's time", Unit::kRatio, Rate(kPhaseSeconds, "rank", "0"), {}, "phase"},
      {"actor_blocked", "waiting", "actors' blocked time", Unit::kRatio, Rate(kBlockedSeconds),
       Value("tactus_actors_connected"), "reason"},
      {"staleness_p95", "waiting", "staleness p95", Unit::kVersions,
       Quantile(0.95, "tactus_trajectory_staleness_versions")},
      {"queue", "waiting", "queue filled", Unit::kRatio, Value("tactus_trajectory_queue_depth"),
       Value("tactus_trajectory_queue_capacity")},
      {"rejected", "waiting", "refused answers", Unit::kPerSecond, Rate("tactus_trajectories_rejected_total")},
      Of("entropy_mean", "entropy", "stability", "entropy", Fold::kMean),
      Of("kl_k3", "kl", "stability", "KL to the starting policy", Fold::kMean),
      Of("mismatch_kl", "mismatch_kl", "stability", "actor-learner mismatch KL", Fold::kMax),
      Of("grad_norm", "gradient_norm", "stability", "gradient norm", Fold::kMax),
      {"nonfinite", "stability", "non-finite values", Unit::kNumber, Value("tactus_nonfinite_values_total")},
      {"length_p50", "answers", "length p50", Unit::kTokens, Quantile(0.5, "tactus_completion_tokens")},
      {"length_p95", "answers", "length p95", Unit::kTokens, Quantile(0.95, "tactus_completion_tokens")},
      Of("credit_amplified_share", "credit_amplified", "answers", "amplified tokens", Fold::kMean),
      {"checkpoint_age", "safety", "last checkpoint", Unit::kSeconds,
       Age("tactus_checkpoint_last_success_timestamp_seconds")},
      {"actors", "safety", "actors connected", Unit::kNumber, Value("tactus_actors_connected")},
      {"actor_tokens",
       "actors",
       "tokens",
       Unit::kPerSecond,
       Rate("tactus_actor_tokens_total", "kind", "completion"),
       {},
       "instance"},
      {"actor_blocked_each", "actors", "blocked", Unit::kRatio, Rate(kBlockedSeconds), {}, "instance"},
      {"actor_version", "actors", "weights", Unit::kVersions, Value("tactus_weight_version"), {}, "instance"},
      {"actor_cache", "actors", "cache", Unit::kRatio, Value("tactus_actor_kv_cache_usage_ratio"), {}, "instance"},
  };
}

std::string Selector(const Term& term, absl::string_view run) {
  std::string matchers;
  if (!term.label.empty()) absl::StrAppend(&matchers, term.label, "=\"", term.value, "\"");
  if (!run.empty()) absl::StrAppend(&matchers, matchers.empty() ? "" : ",", "run=\"", run, "\"");
  return absl::StrCat("{", matchers, "}");
}

std::string TermQl(const Term& term, absl::string_view by, absl::string_view run, int window_s) {
  const std::string selector = Selector(term, run);
  const std::string grouped = by.empty() ? "" : absl::StrCat(" by (", by, ")");
  switch (term.kind) {
    case Kind::kNone:
      return "";
    case Kind::kRate:
      return absl::StrCat("sum", grouped, "(rate(", term.metric, selector, "[", window_s, "s]))");
    case Kind::kAge:
      return absl::StrCat("time() - max", grouped, "(", term.metric, selector, " > 0)");
    case Kind::kQuantile:
      return absl::StrCat("histogram_quantile(", term.quantile, ", sum by (le", by.empty() ? "" : ", ", by, ")(rate(",
                          term.metric, "_bucket", selector, "[", window_s, "s])))");
    case Kind::kValue:
      break;
  }
  static constexpr const char* kFolds[] = {"sum", "max", "avg"};
  return absl::StrCat(kFolds[static_cast<int>(term.fold)], grouped, "(", term.metric, selector, ")");
}

}  // namespace

std::span<const Panel> Panels() {
  static const std::vector<Panel>* const panels = new std::vector<Panel>(MakePanels());
  return *panels;
}

const Panel* FindPanel(absl::string_view id) {
  for (const Panel& panel : Panels()) {
    if (panel.id == id) return &panel;
  }
  return nullptr;
}

std::string PromQl(const Panel& panel, absl::string_view run, int window_s) {
  std::string query = TermQl(panel.over, panel.by, run, window_s);
  if (panel.under.kind != Kind::kNone) {
    // Divided by one number for all, where the panel has a value per label.
    absl::StrAppend(&query, panel.by.empty() ? " / " : " / ignoring(", panel.by.empty() ? "" : panel.by,
                    panel.by.empty() ? "" : ") group_left() ", TermQl(panel.under, "", run, window_s));
  }
  if (panel.scale != 1) absl::StrAppend(&query, " * ", panel.scale);
  return query;
}

}  // namespace tactus::top
