// Everything a step leaves behind for people and dashboards: metrics.jsonl, TensorBoard, samples.jsonl,
// timeline.jsonl, Prometheus.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/data/types.h"
#include "common/metrics/held_out.h"
#include "common/metrics/jsonl_writer.h"
#include "common/metrics/metric_set.h"
#include "common/metrics/run_folder.h"
#include "common/metrics/step_record.h"
#include "common/metrics/tensorboard_writer.h"
#include "common/metrics/timeline.h"
#include "common/tokenizer/tokenizer.h"
#include "learner/ledger/ledger_types.h"
#include "learner/records/rhythm_summary.h"

namespace tactus {

// How the prompts that were asked so far are solved; see PromptDifficulty.
struct PromptTally {
  double never_share = 0, always_share = 0;
  int64_t passed_over = 0;  // turns
};

// What the loop knows about a step beside what the trainer tells.
struct StepContext {
  int64_t step = 0;        // 1 for the first
  PolicyVersion before;    // the weights the step started from
  PolicyVersion version;   // after the step
  double step_time_s = 0;  // since the record of the step before
  double wait_s = 0, publish_s = 0;
  double checkpoint_s = 0;  // of the checkpoint after the step before: its own comes when its record is written
  int actors_connected = 0;
  int64_t skipped_steps = 0;  // in the run so far
  LedgerCounters counters;
  uint64_t weight_bytes_sent = 0;  // to actors, since the process began
  int64_t parameters = 0;
  StepTimeline timeline = {};
  std::vector<std::string> sources = {};    // of each group; empty: the run has no task.sources
  std::optional<PromptTally> prompts = {};  // where rollout.difficulty_floor says that it counts
};

// Adds a step's seconds in the trainer to the rank's phases.
void ExposePhases(const StepRecord& record, MetricSet& metrics);

// Rank 0's. Not thread-safe. Blocking writes.
class RunRecorder {
 public:
  // Cuts the files back to the steps up to `last_step`, where a resumed run goes on. `tokenizer` and `metrics` outlive
  // the recorder.
  static absl::StatusOr<std::unique_ptr<RunRecorder>> Open(const RunFolder& folder, int64_t last_step,
                                                           const RhythmSummaryOptions& rhythm,
                                                           const Tokenizer* tokenizer, MetricSet* metrics);

  // `record` is the trainer's; the rest of it is filled here. Errors of the disk.
  absl::Status Record(const StepContext& context, StepRecord record, const std::vector<TrajectoryGroup>& groups);

  // What was measured on a held-out set: a line of held_out.jsonl, TensorBoard, Prometheus. It may come steps after
  // the one that trained it. Errors of the disk.
  absl::Status RecordHeldOut(const HeldOutRecord& measured);

  // What was recorded outlives the machine's end when this returns OK: before a checkpoint that has those steps.
  absl::Status Sync() const;

 private:
  RunRecorder(RunFolder folder, const RhythmSummaryOptions& rhythm, const Tokenizer* tokenizer, MetricSet* metrics)
      : folder_(std::move(folder)), rhythm_(rhythm), tokenizer_(tokenizer), metrics_(metrics) {}
  // In Prometheus, and of the first set in the records to come. What a step's record has of it.
  StepRecord ShowHeldOut(const HeldOutRecord& measured);
  void FillRecord(const StepContext& context, const std::vector<TrajectoryGroup>& groups, StepRecord& record);
  void Expose(const StepContext& context, const StepRecord& record);
  void ExposeGroups(const StepContext& context, const std::vector<TrajectoryGroup>& groups);
  absl::Status WriteSources(const StepRecord& record);
  absl::Status WriteSamples(const StepContext& context, const std::vector<TrajectoryGroup>& groups);
  SampleRecord MakeSample(int64_t step, const TrajectoryGroup& group, size_t index) const;

  const RunFolder folder_;
  const RhythmSummaryOptions rhythm_;
  const Tokenizer* const tokenizer_;
  MetricSet* const metrics_;
  std::unique_ptr<JsonlWriter> steps_;
  std::unique_ptr<JsonlWriter> samples_;
  std::unique_ptr<JsonlWriter> timeline_;
  std::unique_ptr<TensorBoardWriter> tensorboard_;
  double time_s_ = 0;                    // over the run, also before a resume
  double cpu_seconds_ = 0;               // of this process at the last record
  uint64_t weight_bytes_sent_ = 0;       // at the last record
  std::vector<HeldOutRecord> held_out_;  // of the first set, what is known so far
};

}  // namespace tactus
