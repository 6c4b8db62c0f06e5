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
// 10 s to stop; an actor that dies is started again after 1, 2, 4, ... 30 s, at most 20 times in the job.
// Not thread-safe; blocks until the job has ended.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/back_off.h"
#include "common/config/config_fwd.h"
#include "common/metrics/run_folder.h"
#include "tools/job/child_process.h"
#include "tools/job/device_plan.h"
#include "tools/job/scrape_targets.h"
#include "tools/job/train_display.h"
#include "tools/report/report.h"

namespace tactus {

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
  // OK: all steps done. Cancelled: stopped by SIGINT or SIGTERM after a checkpoint. InvalidArgument: a process refused
  // the configuration or its input. Internal: a process failed; the message ends with its log's tail.
  absl::Status Run();

 private:
  struct Actor {
    std::unique_ptr<ChildProcess> process;
    absl::Time start_at;  // when it may start again, while there is no process
    BackOff pauses{absl::Seconds(1), absl::Seconds(30), /*jitter=*/false};  // between a death and a start
    double cpu_seconds = 0;
  };

  void EvaluateHeldOut(const std::string& model_folder, int64_t step, const std::string& name);
  absl::Status StartLearners();
  absl::Status AwaitLearner();
  absl::Status StartActor(size_t index);
  absl::Status CheckActors();
  std::string ActorReadyFile(size_t index) const;
  absl::Status UpdateTargets();
  // Not-OK when a rank has failed; sets *done when all have ended well.
  absl::Status CheckLearners(bool* done);
  absl::Status Watch();
  absl::Status StopLearners();
  void StopActors();
  void ShowNewSteps();
  void PrintSummary(bool stopped);

  TrainJobOptions options_;
  TrainDisplay display_;
  StepFollower follower_;
  ScrapeTargets targets_;
  absl::Time targets_updated_;
  absl::Time started_;
  std::string ready_file_, learner_address_, metrics_address_;
  std::string held_out_;  // pass rates, for the summary
  std::vector<std::unique_ptr<ChildProcess>> learners_;
  std::vector<Actor> actors_;
  int restarts_ = 0;
  bool stopped_ = false;  // before the last step, by whoever asked
};

}  // namespace tactus
