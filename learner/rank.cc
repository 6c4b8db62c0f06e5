#include "learner/rank.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/monotonic_clock.h"
#include "common/base/status_macros.h"
#include "common/config/run_config.h"
#include "common/config/storage_dtype.h"
#include "common/device/devices.h"
#include "common/device/host_limits.h"
#include "common/model/memory_need.h"
#include "common/ops/cpu/parallel.h"
#include "common/rhythm/credit_assigner.h"
#include "learner/checkpoint/checkpointer.h"
#include "learner/counted_collective.h"
#include "learner/head_calibration.h"
#include "learner/records/run_recorder.h"
#include "learner/train/create_policy.h"
#include "proto/config.pb.h"

namespace tactus {
namespace {

int ThreadsOf(const config::RunConfig& config, int world) {
  if (config.learner().threads() > 0) return config.learner().threads();
  return std::max(1, OwnHostLimits().cpus / world);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Rank>> Rank::Create(LearnerOptions options, const std::atomic<bool>* stop) {
  std::unique_ptr<Rank> rank(new Rank(std::move(options), stop));
  ops::SetThreads(ThreadsOf(*rank->options_.config, rank->options_.world));
  RETURN_IF_ERROR(rank->ServeMetrics());
  RETURN_IF_ERROR(rank->Join());
  RETURN_IF_ERROR(rank->LoadModel());
  return rank;
}

absl::Status Rank::ServeMetrics() {
  const config::RunConfig& config = *options_.config;
  metrics_ = std::make_unique<MetricSet>(
      MetricSet::Options{.role = options_.rank == 0 ? ProcessRole::kLearner : ProcessRole::kFollower,
                         .rank = options_.rank,
                         .task = config.task().name(),
                         .run_id = config.service().run_id()});
  const std::string& listen =
      options_.metrics_listen.empty() ? config.service().metrics_listen() : options_.metrics_listen;
  ASSIGN_OR_RETURN(metrics_server_, MetricsServer::Start(listen, metrics_.get(), &readiness_));
  TACTUS_LOG(INFO) << "serving metrics at http://" << metrics_server_->address() << "/metrics";
  return absl::OkStatus();
}

absl::Status Rank::Join() {
  readiness_.Watch([] { return std::string("joining the other ranks"); });
  ASSIGN_OR_RETURN(std::unique_ptr<Collective> collective,
                   CreateCollective({.rank = options_.rank,
                                     .world = options_.world,
                                     .store_host = options_.store_host,
                                     .store_port = options_.store_port,
                                     .timeout = absl::Seconds(options_.config->learner().collective_timeout_s()),
                                     .device = options_.device.Text()}));
  collective_ = std::make_unique<CountedCollective>(std::move(collective), metrics_.get());
  options_.joined();
  return absl::OkStatus();
}

absl::Status Rank::LoadModel() {
  readiness_.Watch([] { return std::string("loading the model"); });
  const config::RunConfig& config = *options_.config;
  ASSIGN_OR_RETURN(model_, OpenModelFolder(config.model().path()));
  const ModelConfig& shape = model_.config;
  const GpuList gpus = ListGpus();
  const MemoryNeed need = LearnerMemory(absl::StrCat("learner-", options_.rank), shape, config, options_.device);
  RETURN_IF_ERROR(CheckOwnMemory(need, options_.device, config.learner().gpu_memory_mib(), gpus));
  room_for_shared_weights_ = options_.device.is_gpu() &&
                             need.total() + SharedWeightsBytes(shape, config) <=
                                 BudgetBytes(config.learner().gpu_memory_mib(), AvailableBytes(options_.device, gpus));
  ASSIGN_OR_RETURN(const HeadCalibration calibration,
                   HeadCalibration::FromProto(config.credit(), shape.num_layers, shape.num_heads));
  ASSIGN_OR_RETURN(const CreditAssigner credit, CreditAssigner::FromProto(config.credit()));
  limits_ = {.max_prompt_tokens = config.rollout().max_prompt_tokens(),
             .max_completion_tokens = config.rollout().max_completion_tokens(),
             .completions_per_prompt = config.rollout().completions_per_prompt(),
             .vocab_size = static_cast<int>(shape.vocab_size),
             .calibrated_heads = calibration.heads(),
             .min_credit = credit.Bounds().min,
             .max_credit = credit.Bounds().max,
             .max_format_reward = config.task().format_reward()};
  const PolicyOptions policy_options{
      .dtype = StorageDTypeOf(config.model().dtype()),
      .trainable = {.activation_checkpointing = config.learner().activation_checkpointing(),
                    .logprob_chunk_tokens = config.learner().logprob_chunk_tokens(),
                    .temperature = static_cast<float>(config.rollout().temperature())},
      .device = options_.device};
  ASSIGN_OR_RETURN(std::unique_ptr<TrainablePolicy> policy, CreatePolicy(model_, policy_options));
  std::unique_ptr<TrainablePolicy> reference;
  if (config.algorithm().kl_beta() > 0) {
    ASSIGN_OR_RETURN(reference, CreatePolicy(model_, policy_options));
  }
  ASSIGN_OR_RETURN(trainer_, Trainer::Create(TrainerOptions::FromProto(config), std::move(policy), std::move(reference),
                                             *collective_));
  return absl::OkStatus();
}

absl::StatusOr<std::optional<TrainFacts>> Rank::Restore() {
  absl::StatusOr<LoadedCheckpoint> loaded =
      LoadNewestCheckpoint(options_.folder.checkpoints(), trainer_->policy().layout(), limits_);
  if (absl::IsNotFound(loaded.status())) {
    TACTUS_LOG(INFO) << "no checkpoint in " << options_.folder.checkpoints() << ": starting from the beginning";
    return std::nullopt;
  }
  RETURN_IF_ERROR(loaded.status());
  const std::string fingerprint = config::Fingerprint(*options_.config);
  if (loaded->facts.config_fingerprint != fingerprint) {
    return absl::InvalidArgumentError(absl::StrCat(loaded->path, " belongs to another configuration (fingerprint ",
                                                   loaded->facts.config_fingerprint, ", this one has ", fingerprint,
                                                   ")"));
  }
  RETURN_IF_ERROR(trainer_->Restore(
      {.parameters = loaded->master, .first_moment = loaded->first_moment, .second_moment = loaded->second_moment},
      {.taken = loaded->facts.optimizer_steps, .skipped = loaded->facts.skipped_steps}));
  LrSchedule planned = TrainerOptions::FromProto(*options_.config).schedule, now = planned;
  if (loaded->facts.planned_steps > 0) {
    planned.total_steps = now.total_steps / options_.config->learner().steps() * loaded->facts.planned_steps;
  }
  const std::string jump = RateJump(planned, now, loaded->facts.schedule_step);
  if (!jump.empty()) TACTUS_LOG(WARNING) << jump;
  version_ = loaded->facts.version;
  step_ = loaded->facts.learner_step;
  TACTUS_LOG(INFO) << "resumed from " << loaded->path << ", step " << step_;
  return std::move(loaded->facts);
}

absl::Status Rank::WhileReady(absl::FunctionRef<absl::Status()> run) {
  readiness_.Watch([stop = stop_] { return std::string(*stop ? "asked to stop: finishing the step" : ""); });
  absl::Status status = run();
  readiness_.Watch([] { return std::string("stopped"); });
  return status;
}

absl::StatusOr<StepOrder> Rank::Exchange(StepOrder order) {
  order.stop_asked = StopAsked();
  ASSIGN_OR_RETURN(StepOrder agreed, ExchangeStepOrder(*collective_, std::move(order), limits_));
  stop_asked_ = stop_asked_ || agreed.stop_asked;
  return agreed;
}

absl::StatusOr<StepRecord> Rank::Train(const StepOrder& order) {
  ASSIGN_OR_RETURN(StepRecord stats, trainer_->TrainStep(order.groups, order.version));
  ++step_;
  SetVersion({order.version.incarnation, order.version.step + 1});
  return stats;
}

absl::Status Rank::Follow() {
  for (;;) {
    const absl::Time start = MonotonicNow();
    ASSIGN_OR_RETURN(const StepOrder order, Exchange({}));
    metrics_->Add(Metric::kLearnerPhaseSeconds, SecondsSince(start), "wait_trajectories");
    if (order.kind == StepOrder::Kind::kStop) return Ending();
    if (order.kind != StepOrder::Kind::kTrain) continue;
    ASSIGN_OR_RETURN(const StepRecord stats, Train(order));
    ExposePhases(stats, *metrics_);
    metrics_->Set(Metric::kLearnerStep, static_cast<double>(step_));
    metrics_->Set(Metric::kWeightVersion, static_cast<double>(version_.step));
  }
}

absl::Status Rank::Ending() const {
  const int64_t last = options_.config->learner().steps();
  if (step_ >= last) return absl::OkStatus();
  return absl::CancelledError(
      absl::StrCat("stopped when asked to, after step ", step_, " of ", last, "; the checkpoint is complete"));
}

void Rank::SetVersion(PolicyVersion version) {
  version_ = version;
  SetLogVersion(VersionName(version_));
}

}  // namespace tactus
