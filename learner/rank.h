// What every learner rank is: its place among the ranks, the model and its trainer, and the version that the trainer's
// parameters are; besides an endpoint for metrics and probes. All ranks take the same orders in the same order, and so
// hold the same parameters. Rank 0's orders are given by its Coordinator; the others Follow.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/background_task.h"
#include "common/collective/collective.h"
#include "common/config/config_fwd.h"
#include "common/data/codec.h"
#include "common/device/device_spec.h"
#include "common/metrics/heartbeat.h"
#include "common/metrics/metrics_server.h"
#include "common/metrics/run_folder.h"
#include "common/model/folder/hf_folder.h"
#include "common/weights/weight_publisher.h"
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

// What a step that was taken leaves.
struct TakenStep {
  StepRecord stats;
  std::vector<TrajectoryGroup> groups;  // that it was trained on
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

  // Collective. Goes on from the newest good checkpoint, as rank 0 finds it; returns all that it knows beside the
  // tensors. nullopt: there is none. InvalidArgument: it is another configuration's. DataLoss: all are bad. NotFound:
  // rank 0 has one that this rank does not see.
  absl::StatusOr<std::optional<TrainFacts>> Restore();
  // Collective. Once the parameters are loaded, before they are read; Train does it too.
  absl::Status GatherWeights();
  // The parameters as they are published; rank 0 keeps them until they change, for actors and checkpoints. Of divided
  // parameters they were gathered when they changed, on rank 0 alone. The errors of TrainableParameters::ReadWeights.
  absl::StatusOr<WeightBytes> ReadWeights();
  // Collective, of parameters that were just loaded or are saved. FailedPrecondition: the ranks do not hold the same;
  // names those that differ from rank 0. Divided ones have no copies that could differ.
  absl::Status CompareParameters();

  // Runs it; /readyz says 200 meanwhile, until a stop is asked for, and "stopped" afterwards. /healthz says 503 when
  // neither an exchange nor a step has ended for ten times the longest step, and an hour at least; and from joining the
  // ranks on when the collective has not returned from a call in time.
  absl::Status WhileReady(absl::FunctionRef<absl::Status()> run);

  // Collective. What all ranks do next: `order` becomes rank 0's. The errors of ExchangeStepOrder.
  absl::Status Exchange(StepOrder& order);
  // Collective. Trains on the groups of a kTrain order, the next of rollout.prompts_per_step. With the last of them the
  // optimizer steps, and the version is the next; nullopt before.
  absl::StatusOr<std::optional<TakenStep>> Train(StepOrder order);
  int groups_wanted() const;  // that the step under way lacks
  // The groups of the step under way, which is abandoned: nothing of it remains.
  absl::StatusOr<std::vector<TrajectoryGroup>> AbandonStep();
  // Takes a snapshot of this rank's masters and moments, and gives what writes it into the unfinished checkpoint of the
  // present version, with its note (optimizer_files.h): for another thread, as the rank goes on.
  absl::StatusOr<std::function<absl::Status()>> ShareWriter();
  int share_writers() const { return sharded() ? options_.world : 1; }  // otherwise rank 0 has all, and writes alone
  // Collective. What a rank other than 0 does: rank 0's orders up to kStop. As Ending.
  absl::Status Follow();

  // Whether this process was told to stop or its time is over, or any rank's by the last exchange.
  bool StopAsked() const { return stop_asked_ || *stop_ || TimeIsOver(); }
  // How the run ends after this step. Before the last one Aborted, of rank 0: the training has diverged; else
  // Cancelled.
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
  bool sharded() const { return sharding_.shard != Shard::kNone; }
  bool parameters_divided() const { return sharding_.shard == Shard::kParameters; }
  // Whether weights are to be shared in the device's memory, and it had room for it beside the training before that
  // began.
  bool room_for_shared_weights() const { return room_for_shared_weights_; }

 private:
  Rank(LearnerOptions options, const std::atomic<bool>* stop);
  bool TimeIsOver() const;
  absl::Status ServeMetrics();
  absl::Status Join();
  absl::Status LoadModel();
  absl::Status CheckMemory();
  absl::StatusOr<std::string> AgreeOnCheckpoint();
  absl::Status Save();
  std::vector<char> SpareSet();

  const LearnerOptions options_;
  const std::atomic<bool>* const stop_;
  const absl::Time stop_at_;  // learner.time_limit_s after the start
  bool stop_asked_ = false;   // at some rank, as the last exchange told

  std::unique_ptr<MetricSet> metrics_;
  Readiness readiness_{"loading the model"};
  Heartbeat heartbeat_;
  std::unique_ptr<MetricsServer> metrics_server_;
  std::unique_ptr<Collective> collective_;

  ModelFolder model_;
  TrajectoryLimits limits_;
  Sharding sharding_;
  bool room_for_shared_weights_ = false;
  std::unique_ptr<Trainer> trainer_;
  std::vector<TrajectoryGroup> groups_;                   // of the step under way: lent to the trainer
  WeightBytes weights_;                                   // rank 0: of these parameters, once they were read
  std::vector<std::shared_ptr<std::vector<char>>> sets_;  // rank 0: what it has read, the newest and those still read
  std::shared_ptr<ParameterSnapshot> snapshot_;  // that the last checkpoint was written from: the next one's memory
  PolicyVersion version_;
  int64_t step_ = 0;
  std::unique_ptr<BackgroundTask> saving_;  // of a rank other than 0: its share
};

}  // namespace tactus
