// What one learner step reports. A number of a step is a member of StepRecord and one row of StepFields(), and
// everything that shows it goes by that row: a line of metrics.jsonl, TensorBoard, Prometheus, the display, the report,
// `tactus top` and, through docs/metrics.json, the dashboards. docs/recipes/add-a-metric.md shows how one is added.
// Value types; the functions are thread-safe.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/metrics/unit.h"

namespace tactus {

// A number that was not measured. Nothing shows it as 0.
inline constexpr double kAbsent = std::numeric_limits<double>::quiet_NaN();

// What a step trained of one of task.sources.
struct SourceStep {
  std::string name;
  double groups = 0, reward_mean = 0, correct_rate = 0;
  friend bool operator==(const SourceStep&, const SourceStep&) = default;
};

struct StepRecord {
  int64_t step = 0;                      // 1 for the first finished step
  std::string version;                   // "incarnation.step" of the weights after the step
  double time_s = 0;                     // since the start of the run, over resumes
  std::vector<SourceStep> sources = {};  // of which the step has groups, by name; empty: the run has no task.sources

  // From here on each member has its row. Of all groups:
  double reward_mean = kAbsent, reward_std = kAbsent;  // population
  double correct_rate = kAbsent, format_rate = kAbsent, reward_format = kAbsent;
  double reward_shaping_mean = kAbsent;
  double completion_tokens_mean = kAbsent, turns_mean = kAbsent;
  double advantage_mean = kAbsent, advantage_min = kAbsent, advantage_max = kAbsent;  // of completions or turns
  double tokens_generated_per_s = kAbsent, tokens_trained_per_s = kAbsent;
  // Of the updates: means over them, but the rate is the last one's.
  double loss = kAbsent, loss_policy = kAbsent, loss_kl = kAbsent, loss_entropy = kAbsent, grad_norm = kAbsent,
         lr = kAbsent;
  // Of the tokens computed. Completions without any advantage are left out when there is no KL term.
  double kl_k3 = kAbsent, kl_proximal = kAbsent;
  double clip_fraction = kAbsent, clip_low_fraction = kAbsent, clip_high_fraction = kAbsent, ratio_max = kAbsent;
  double entropy_mean = kAbsent;  // of all groups, as the actor recorded it
  // The gap between the log-prob the actor recorded and the one the learner recomputes; of the tokens computed, and of
  // those among them that the current version sampled.
  double mismatch_mean = kAbsent, mismatch_max = kAbsent, mismatch_kl = kAbsent, mismatch_tokens = kAbsent;
  double mismatch_on_policy_mean = kAbsent, mismatch_on_policy_max = kAbsent, mismatch_on_policy_kl = kAbsent,
         mismatch_on_policy_tokens = kAbsent;
  double tis_mean = kAbsent, tis_max = kAbsent, tis_capped_share = kAbsent;
  double staleness_mean = kAbsent, staleness_max = kAbsent;  // between the version that sampled a token and the current
  double zero_signal_share = kAbsent;
  double updates = kAbsent, skipped_updates = kAbsent, skipped_steps = kAbsent;
  // Over all ranks and updates; packing has no padding.
  double completion_tokens = kAbsent, prompt_tokens = kAbsent, skipped_tokens = kAbsent;
  double step_time_s = kAbsent;
  double phase_wait_s = kAbsent, phase_forward_s = kAbsent, phase_backward_s = kAbsent, phase_allreduce_s = kAbsent,
         phase_optimizer_s = kAbsent, phase_publish_s = kAbsent, phase_checkpoint_s = kAbsent;
  double streamed_s = kAbsent;  // of forward and backward of rank 0
  double actors_connected = kAbsent, groups_dropped_stale = kAbsent, groups_replaced = kAbsent;
  // Of the prompts that were asked so far, by rollout.difficulty_floor's rate.
  double prompts_never_solved_share = kAbsent, prompts_always_solved_share = kAbsent, prompts_passed_over = kAbsent;
  double eval_pass1 = kAbsent;
  double eval_pass_k = kAbsent;
  double cpu_share_learner = kAbsent;
  double credit_mean = kAbsent, credit_amplified_share = kAbsent;
  // The attention rhythm: docs/rhythm.md.
  double audited_completions = kAbsent;
  double gamma_version_lag_mean = kAbsent, gamma_version_lag_max = kAbsent;
  double credit_local_chunk_share = kAbsent, credit_global_anchor_share = kAbsent, credit_coupled_share = kAbsent,
         credit_entropy_share = kAbsent;
  double overlap_local_global = kAbsent, overlap_coupled_entropy = kAbsent, overlap_global_entropy = kAbsent,
         overlap_local_entropy = kAbsent;
  double waad_peak_entropy_corr = kAbsent;
  double waad_mean = kAbsent, waad_p10 = kAbsent, waad_p50 = kAbsent, waad_p90 = kAbsent;
  double fai_mean = kAbsent, fai_p10 = kAbsent, fai_p50 = kAbsent, fai_p90 = kAbsent;
};

// A gauge, or one series of it.
struct StepSeries {
  const char* metric = nullptr;  // null: none, or what Prometheus sees is exposed while it happens, not after a step
  const char* label = nullptr;   // null: the gauge has one series
  const char* value = nullptr;   // of the label
  bool env = false;              // the series carries the task's name, too
};

struct StepField {
  const char* key;  // the member's name, in metrics.jsonl
  double StepRecord::*member;
  const char* folder;  // TensorBoard's tag is folder/key, less a "folder_" before the key
  Unit unit;
  const char* chart;  // the numbers of one chart are drawn together; null: in tables alone
  const char* label;  // its name in that chart
  const char* help;   // what it is, no full stop
  StepSeries series = {};
  const char* absent = nullptr;  // why it may have no value; null: it always has one
};

// A row for every double of the record but time_s and those of the sources.
std::span<const StepField> StepFields();
// Null for an unknown key.
const StepField* FindStepField(absl::string_view key);

struct StepChart {
  const char* title;
  std::vector<const StepField*> fields;
};
// In the order of their first rows.
std::vector<StepChart> StepCharts();

// "train/loss", "eval/pass1".
std::string TensorBoardTag(const StepField& field);

// One line without the newline. A number that a row allows to be absent is left out when it is not finite; another one
// becomes null.
std::string StepRecordToJson(const StepRecord& record);

// Null, and a key that is not there, read as kAbsent; unknown keys are ignored, so that readers can follow both older
// and newer runs. InvalidArgument: not a JSON object, too deep or long, no step, or a value of the wrong type.
absl::StatusOr<StepRecord> StepRecordFromJson(absl::string_view line);

// Means of a number over the first and the last steps that have it: at most ten each, and never the same steps.
struct StepTrend {
  double first = kAbsent, last = kAbsent;
  int steps = 0;  // on either side; 0: fewer than two steps have the number
};
StepTrend TrendOf(std::span<const StepRecord> steps, double StepRecord::*member);

}  // namespace tactus
