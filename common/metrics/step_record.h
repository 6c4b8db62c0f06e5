// What one learner step reports, and its form as a line of metrics.jsonl. The one list of keys: the learner fills a
// record, and JSONL, TensorBoard, the live display and the report all go by StepFields().
// Value types; the functions are thread-safe.
#pragma once

#include <cmath>
#include <cstdint>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tactus {

struct StepRecord {
  int64_t step = 0;     // 1 for the first finished step
  std::string version;  // "incarnation.step" of the weights after the step
  double time_s = 0;    // since the start of the run, over resumes

  double reward_mean = 0, reward_std = 0, correct_rate = 0, format_rate = 0;
  double completion_tokens_mean = 0;
  double tokens_generated_per_s = 0, tokens_trained_per_s = 0;
  double loss = 0, grad_norm = 0, lr = 0, kl_k3 = 0, clip_fraction = 0, entropy_mean = 0;
  // Recorded against recomputed log-probs, nats: mean and max |difference|, KL, mean importance weight.
  double mismatch_mean = 0, mismatch_max = 0, mismatch_kl = 0, tis_mean = 1;
  double staleness_mean = 0, staleness_max = 0;  // versions
  double zero_signal_share = 0;                  // of groups
  double skipped_steps = 0;                      // optimizer steps skipped so far
  double step_time_s = 0;
  double phase_wait_s = 0, phase_forward_s = 0, phase_backward_s = 0, phase_allreduce_s = 0, phase_optimizer_s = 0,
         phase_publish_s = 0, phase_checkpoint_s = 0;
  double actors_connected = 0;
  double groups_dropped_stale = 0;   // so far
  double eval_pass1 = std::nan("");  // only when evaluated in this step
  double cpu_share_learner = 0;      // process CPU seconds per second of the step
  double credit_mean = 1, credit_amplified_share = 0;

  // The attention rhythm: docs/rhythm.md. NaN when no completion of the batch was audited.
  double audited_completions = 0;
  double gamma_version_lag_mean = 0, gamma_version_lag_max = 0;  // versions, of all completions
  double credit_local_chunk_share = std::nan(""), credit_global_anchor_share = std::nan(""),
         credit_coupled_share = std::nan(""), credit_entropy_share = std::nan("");
  double overlap_local_global = std::nan(""), overlap_coupled_entropy = std::nan(""),
         overlap_global_entropy = std::nan(""), overlap_local_entropy = std::nan("");
  double waad_peak_entropy_corr = std::nan("");
  double waad_mean = std::nan(""), waad_p10 = std::nan(""), waad_p50 = std::nan(""), waad_p90 = std::nan("");
  double fai_mean = std::nan(""), fai_p10 = std::nan(""), fai_p50 = std::nan(""), fai_p90 = std::nan("");
};

struct StepField {
  const char* key;
  double StepRecord::*member;
  const char* help;  // a short phrase with the unit, for the report
};

// Every double of the record but time_s, in the order of the line.
std::span<const StepField> StepFields();

// One line without the newline. Not-finite values become null; eval_pass1 is left out when it is NaN.
std::string StepRecordToJson(const StepRecord& record);

// Null reads as NaN; unknown keys are ignored, so that older readers can follow newer runs. InvalidArgument: not a
// JSON object, too deep or long, no step, or a value of the wrong type.
absl::StatusOr<StepRecord> StepRecordFromJson(absl::string_view line);

}  // namespace tactus
