// A whole training job on this machine: starts the learner ranks and the actors as processes of their own, watches
// them, shows progress, and stops them in order.
//
// Contract with the processes (found beside this executable):
//   tactus-learner --config F --out DIR --rank R --world N --store HOST:PORT --device D --ready-file F [--resume]
//     rank 0 writes F atomically once it serves: {"listen":"HOST:PORT","metrics":"HOST:PORT"}. SIGTERM: it finishes the
//     step, writes a checkpoint and exits 3, or 0 if that was the last step.
//   tactus-actor --config F --learner HOST:PORT --instance NAME --metrics-listen HOST:PORT --ready-file F --device D
//     writes F likewise: {"metrics":"HOST:PORT"}. SIGTERM: it hands in what it has and exits 0.
//   Exit codes: common/base/exit_code.h; each process explains its own on stderr.
//
// Bounds: the learner must be ready within 10 minutes; it has 10 minutes to write its checkpoint when stopped, actors
// 10 s to leave after the last step. An actor that dies is started again (actor_restarts.h); one that refuses its
// input before the first step ends the job, as it would again. Whatever ends the job while the learner lives lets it
// write its checkpoint first. Not thread-safe; blocks until the job has ended.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/config/config_fwd.h"
#include "common/metrics/run_folder.h"
#include "common/metrics/signal_watch.h"
#include "tools/job/actor_restarts.h"
#include "tools/job/child_process.h"
#include "tools/job/device_plan.h"
#include "tools/job/scrape_targets.h"
#include "tools/job/train_display.h"
#include "tools/report/report.h"

namespace tactus {

class CheckpointEvaluations;

struct TrainJobOptions {
  std::shared_ptr<const config::RunConfig> config;  // resolved and checked
  RunFolder folder;                                 // exists, with config.textproto in it
  std::string binary_folder;
  int learners = 1;
  int actors = 2;
  DevicePlan devices;  // empty: each process chooses for itself
  bool resume = false;
  bool terminal = false;  // stderr is one
  EnrichAnswers enrich_report = {};
};

class TrainJob {
 public:
  explicit TrainJob(TrainJobOptions options);
  ~TrainJob();
  // OK: all steps done. Cancelled: stopped by SIGINT or SIGTERM after a checkpoint. InvalidArgument: a process refused
  // the configuration or its input. Internal: a learner failed, or actors kept dying; the message ends with the log's
  // tail.
  absl::Status Run();

 private:
  struct Actor {
    std::unique_ptr<ChildProcess> process;
    absl::Time started;   // while there is one
    absl::Time start_at;  // when it may start, while there is none
    double cpu_seconds = 0;
  };

  std::string MeasuredByActors() const;
  void EvaluateHeldOut(const std::string& model_folder, int64_t step, const std::string& name);
  absl::Status StartLearners();
  absl::Status AwaitLearner();
  absl::Status StartActor(size_t index);
  void EndActor(Actor& actor, absl::Duration pause);  // it may start again after the pause
  absl::Status ActorDied(size_t index, const absl::Status& death, absl::Duration lived);
  absl::Status CheckActors();
  std::string ActorReadyFile(size_t index) const;
  void UpdateTargets();
  // Not-OK when a rank has failed; sets *done when all have ended well.
  absl::Status CheckLearners(bool* done);
  absl::Status Watch();
  absl::Status StopLearners();
  void StopActors(absl::Duration grace);
  void ShowNewSteps();
  void PrintSummary(bool stopped);

  TrainJobOptions options_;
  TrainDisplay display_;
  StepFollower follower_;
  SignalWatch signal_;
  ScrapeTargets targets_;
  absl::Time targets_updated_;
  absl::Time started_;
  std::string ready_file_, learner_address_, metrics_address_;
  std::string held_out_;                                // pass rates, for the summary
  std::unique_ptr<CheckpointEvaluations> evaluations_;  // while the learner trains
  std::vector<std::unique_ptr<ChildProcess>> learners_;
  std::vector<Actor> actors_;
  ActorRestarts restarts_;
  bool trained_ = false;       // a step, in this job
  bool targets_told_ = false;  // that they cannot be written
  bool stopped_ = false;       // before the last step, by whoever asked
};

}  // namespace tactus
