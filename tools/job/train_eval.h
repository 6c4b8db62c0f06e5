// Measures policies on held-out prompts before, during and after training, as `tactus eval` does, in a process of its
// own.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/config/config_fwd.h"
#include "common/metrics/held_out.h"
#include "tools/job/child_process.h"
#include "tools/job/train_job.h"

namespace tactus {

// Whether `tactus train` does, and not the run's actors, or nobody.
bool LauncherMeasures(const config::RunConfig& config);

// One measurement that runs: pass@1 with its 95 % interval, over config.eval's prompts of the test set, of the policy
// after `step` steps. Not thread-safe. Its process ends with it.
class HeldOutEvaluation {
 public:
  // The whole summary stays in logs/eval-<name>.json, and beside it, as .log, what was said on the way.
  static absl::StatusOr<std::unique_ptr<HeldOutEvaluation>> Start(const TrainJobOptions& options,
                                                                  const std::string& model_folder, int64_t step,
                                                                  const std::string& name);

  // Waits so long for it; nullopt: it still runs. Its result is the next line of held_out.jsonl. Internal: it failed,
  // or took an hour.
  std::optional<absl::StatusOr<HeldOutRecord>> Wait(absl::Duration patience);

 private:
  HeldOutEvaluation(RunFolder folder, int64_t step, std::string summary, std::unique_ptr<ChildProcess> process);
  absl::StatusOr<HeldOutRecord> Result(int exit_code) const;

  const RunFolder folder_;
  const int64_t step_;
  const std::string summary_;  // the file
  const absl::Time deadline_;
  const std::unique_ptr<ChildProcess> process_;
};

// A whole measurement. A step that stands in held_out.jsonl keeps its number and is not measured again. Blocks; ends
// early, with Cancelled, on a stop signal.
absl::StatusOr<HeldOutRecord> MeasureHeldOut(const TrainJobOptions& options, const std::string& model_folder,
                                             int64_t step, const std::string& name);

// Measures checkpoints while others are trained, eval.every_steps apart, one at a time and the newest first, and keeps
// the best. What is measured stays until it has its number, whatever checkpoint.keep says. A resumed run goes on behind
// the last number it has. Not thread-safe.
class CheckpointEvaluations {
 public:
  // `options` outlives it.
  explicit CheckpointEvaluations(const TrainJobOptions& options);
  ~CheckpointEvaluations();
  CheckpointEvaluations(const CheckpointEvaluations&) = delete;
  CheckpointEvaluations& operator=(const CheckpointEvaluations&) = delete;

  // Does what is due and waits for nothing. What is to be told, or "".
  std::string Poll();
  // Waits for the one that runs; ends early on a stop signal. Likewise.
  std::string Finish();

 private:
  std::string Begin();
  std::string End(const absl::StatusOr<HeldOutRecord>& measured);

  const TrainJobOptions& options_;
  int64_t measured_step_ = 0;  // the newest that was begun
  std::string held_;           // second links to the checkpoint that is measured; "" = none
  std::unique_ptr<HeldOutEvaluation> running_;
};

}  // namespace tactus
