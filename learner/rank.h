// What every learner rank is: its place among the ranks, the model and its trainer, and the version that the trainer's
// parameters are; besides an endpoint for metrics and probes. All ranks take the same orders in the same order, and so
// hold the same parameters. Rank 0's orders are given by its Coordinator; the others Follow.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/collective/collective.h"
#include "common/config/config_fwd.h"
#include "common/data/codec.h"
#include "common/device/device_spec.h"
#include "common/metrics/metrics_server.h"
#include "common/metrics/run_folder.h"
#include "common/model/folder/hf_folder.h"
#include "learner/checkpoint/state_codec.h"
#include "learner/step_exchange.h"
#include "learner/train/trainer.h"

namespace tactus {

struct LearnerOptions {
  std::shared_ptr<const config::RunConfig> config;  // resolved and checked
  RunFolder folder;
  int rank = 0;
  int world = 1;
  Device device = {};  // this rank's
  std::string store_host;
  int store_port = 0;
  std::string ready_file;                // rank 0 writes its addresses here once it serves; "" = nowhere
  std::string metrics_listen;            // "" = service.metrics_listen
  bool resume = false;                   // from the newest good checkpoint; from the start when there is none
  std::function<void()> joined = [] {};  // called when all ranks have met: until then nothing looks at `stop`
};

// Owned by one thread. "Collective": every rank must call it; blocks for the others, at most
// learner.collective_timeout_s, and then returns the collective's error.
class Rank {
 public:
  // Serves metrics, joins the other ranks, loads the model. Blocks. `stop` outlives the rank.
  // InvalidArgument / NotFound: the configuration or a file; Unavailable: ranks or an address.
  static absl::StatusOr<std::unique_ptr<Rank>> Create(LearnerOptions options, const std::atomic<bool>* stop);
  Rank(const Rank&) = delete;
  Rank& operator=(const Rank&) = delete;

  // Goes on from the newest good checkpoint; returns all that it knows beside the tensors. nullopt: there is none.
  // InvalidArgument: it is another configuration's. DataLoss: all are bad.
  absl::StatusOr<std::optional<TrainFacts>> Restore();

  // Runs it; /readyz says 200 meanwhile, until a stop is asked for, and "stopped" afterwards.
  absl::Status WhileReady(absl::FunctionRef<absl::Status()> run);

  // Collective. What all ranks do next: rank 0's `order`; the others' is not looked at.
  absl::StatusOr<StepOrder> Exchange(StepOrder order);
  // Collective. Takes the optimizer step of a kTrain order; afterwards the version is the next.
  absl::StatusOr<StepRecord> Train(const StepOrder& order);
  // Collective. What a rank other than 0 does: rank 0's orders up to kStop. As Ending.
  absl::Status Follow();

  // Whether this process was told to stop, or any rank by the last exchange.
  bool StopAsked() const { return stop_asked_ || *stop_; }
  // How the run ends after this step. Cancelled: before the last one; OK otherwise.
  absl::Status Ending() const;

  // On every log line from now on. For rank 0, whose ledger knows the incarnation.
  void SetVersion(PolicyVersion version);

  const LearnerOptions& options() const { return options_; }
  const TrajectoryLimits& limits() const { return limits_; }
  const ModelFolder& model() const { return model_; }
  std::string metrics_address() const { return metrics_server_->address(); }
  MetricSet& metrics() { return *metrics_; }
  Trainer& trainer() { return *trainer_; }
  PolicyVersion version() const { return version_; }  // of the trainer's parameters
  int64_t step() const { return step_; }              // batches trained
  // Whether the device has room for a copy of the weights beside the training, as found before it began.
  bool room_for_shared_weights() const { return room_for_shared_weights_; }

 private:
  Rank(LearnerOptions options, const std::atomic<bool>* stop) : options_(std::move(options)), stop_(stop) {}
  absl::Status ServeMetrics();
  absl::Status Join();
  absl::Status LoadModel();

  const LearnerOptions options_;
  const std::atomic<bool>* const stop_;
  bool stop_asked_ = false;  // at some rank, as the last exchange told

  std::unique_ptr<MetricSet> metrics_;
  Readiness readiness_{"loading the model"};
  std::unique_ptr<MetricsServer> metrics_server_;
  std::unique_ptr<Collective> collective_;

  ModelFolder model_;
  TrajectoryLimits limits_;
  bool room_for_shared_weights_ = false;
  std::unique_ptr<Trainer> trainer_;
  PolicyVersion version_;
  int64_t step_ = 0;
};

}  // namespace tactus
