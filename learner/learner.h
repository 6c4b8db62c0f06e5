// One learner rank: the training loop, from finished groups to new weights.
//
// Every rank serves /metrics, /healthz and /readyz. Rank 0 also hosts the ledger, the rollout stream and the weight
// service, keeps the records and writes checkpoints; the other ranks only train. Who waits for whom in a step:
//
//   rank 0       TakeGroups: P finished groups of actors; a slice of 1 s at a time, so that a stop is seen
//   other ranks  rank 0's order for the step; one comes at least every kKeepAlive
//   all ranks    the gradient all-reduce, at most learner.collective_timeout_s
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/collective/collective.h"
#include "common/data/codec.h"
#include "common/device/device_spec.h"
#include "common/metrics/metrics_server.h"
#include "common/metrics/run_folder.h"
#include "common/model/folder/hf_folder.h"
#include "common/weights/weight_publisher.h"
#include "learner/checkpoint/checkpointer.h"
#include "learner/head_calibration.h"
#include "learner/prompt_source.h"
#include "learner/records/run_recorder.h"
#include "learner/rollout/grpc_rollout_server.h"
#include "learner/step_exchange.h"
#include "learner/train/trainer.h"
#include "proto/config.pb.h"

namespace grpc {
class Service;
}

namespace tactus {

struct LearnerOptions {
  config::RunConfig config;
  RunFolder folder;
  int rank = 0;
  int world = 1;
  Device device = {};  // this rank's
  std::string store_host;
  int store_port = 0;
  std::string ready_file;      // rank 0 writes its addresses here once it serves; "" = nowhere
  std::string metrics_listen;  // "" = service.metrics_listen
  bool resume = false;         // from the newest good checkpoint; from the start when there is none
};

// Owned by one thread.
class Learner {
 public:
  // Loads the model (and checkpoint), joins the other ranks, serves. Blocks. InvalidArgument / NotFound: the
  // configuration or a file; Unavailable: ranks or addresses.
  static absl::StatusOr<std::unique_ptr<Learner>> Create(LearnerOptions options);
  ~Learner();

  // Trains until learner.steps are done, or *stop is set at any rank, then writes a checkpoint. Cancelled: stopped
  // before the last step, with that checkpoint complete. After a stop, what is waited for is the step under way, a
  // checkpoint and, for rank 0 to hear of another rank's stop, kKeepAlive.
  absl::Status Run(const std::atomic<bool>* stop);

 private:
  explicit Learner(LearnerOptions options);

  bool IsRoot() const { return options_.rank == 0; }
  absl::Status ServeMetrics();
  absl::Status LoadPolicy();
  absl::Status LoadCheckpoint();
  absl::Status Serve();
  absl::Status WriteReadyFile() const;
  absl::Status RunRoot();
  absl::Status RunFollower();
  absl::StatusOr<StepOrder> Exchange(StepOrder order);
  absl::Status EarlyStop() const;
  absl::Status FillPrompts();
  absl::StatusOr<std::vector<TrajectoryGroup>> AwaitGroups();
  absl::Status RootStep(std::vector<TrajectoryGroup> groups, double wait_s);
  bool StopAsked() const { return stop_asked_ || (stop_ != nullptr && *stop_); }
  absl::Status PublishWeights();
  absl::Status PublishNextVersion();
  absl::Status Checkpoint();
  bool CheckpointDue() const;

  const LearnerOptions options_;
  TrajectoryLimits limits_;
  ModelFolder model_folder_;
  std::unique_ptr<MetricSet> metrics_;
  Readiness readiness_{"loading the model"};
  std::unique_ptr<MetricsServer> metrics_server_;
  std::unique_ptr<Collective> collective_;
  std::unique_ptr<Trainer> trainer_;
  PolicyVersion version_;     // of the trainer's parameters
  int64_t learner_step_ = 0;  // batches trained
  int64_t checkpointed_step_ = -1;
  const std::atomic<bool>* stop_ = nullptr;     // Run's
  bool stop_asked_ = false;                     // at some rank, as the last exchange told
  std::optional<HeadCalibration> calibration_;  // after LoadPolicy; only rank 0's goes on

  // Rank 0 only.
  std::unique_ptr<LoadedCheckpoint> resumed_;  // until Serve has used it
  std::unique_ptr<Checkpointer> checkpointer_;
  std::unique_ptr<PromptSource> prompts_;
  uint64_t next_prompt_id_ = 0;
  std::unique_ptr<WeightPublisher> publisher_;
  bool share_weights_ = false;  // in GPU memory, for actors of this machine: where there is room
  std::atomic<uint64_t> weight_bytes_sent_{0};
  std::unique_ptr<grpc::Service> weight_service_;
  std::unique_ptr<RolloutServer> server_;  // after what it serves: destroyed first
  std::unique_ptr<RunRecorder> recorder_;
};

}  // namespace tactus
