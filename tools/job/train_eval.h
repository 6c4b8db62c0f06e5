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

// One measurement that runs: pass@1 with its 95 % interval, of the policy after `step` steps, over config.eval's
// prompts of the test set and then over each of eval.sets, but for those that have the step in held_out.jsonl. One
// process at a time, which ends with it. Not thread-safe.
class HeldOutEvaluation {
 public:
  // A set's whole summary stays in logs/eval-<name>.json, and beside it, as .log, what was said on the way; of
  // eval.sets it is eval-<name>-<set>.json.
  static absl::StatusOr<std::unique_ptr<HeldOutEvaluation>> Start(const TrainJobOptions& options,
                                                                  const std::string& model_folder, int64_t step,
                                                                  const std::string& name);

  // Waits so long for it; nullopt: it still runs. A set's result is the next line of held_out.jsonl; returned is that
  // of eval's own. Internal: it failed, or took an hour.
  std::optional<absl::StatusOr<HeldOutRecord>> Wait(absl::Duration patience);

 private:
  struct Part {
    std::string set;  // "": eval's own
    std::vector<std::string> command;
    std::string base;  // of its files in logs
  };

  HeldOutEvaluation(RunFolder folder, int64_t step, std::vector<Part> parts);
  absl::Status Begin();  // the next part
  absl::Status End(int exit_code);

  const RunFolder folder_;
  const int64_t step_;
  const std::vector<Part> parts_;
  size_t next_ = 0;                   // of parts_
  std::optional<HeldOutRecord> own_;  // of eval's own fields, measured now or before
  std::unique_ptr<ChildProcess> process_;
  absl::Time deadline_;
};

// A whole measurement. A set whose step stands in held_out.jsonl keeps its number and is not measured again. Blocks;
// ends early, with Cancelled, on a stop signal.
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
