#include "learner/learner.h"

#include <algorithm>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/monotonic_clock.h"
#include "common/base/status_macros.h"
#include "common/config/run_config.h"
#include "common/device/devices.h"
#include "common/metrics/build_info.h"
#include "common/model/dtype_config.h"
#include "common/model/memory_need.h"
#include "common/ops/cpu/parallel.h"
#include "common/rhythm/rhythm.h"
#include "common/weights/grpc_weight_service.h"
#include "learner/counted_collective.h"
#include "learner/train/create_policy.h"

namespace tactus {
namespace {

// Rank 0 tells the others at least this often that it still waits for groups, and hears whether one was asked to stop.
constexpr absl::Duration kKeepAlive = absl::Seconds(5);
constexpr absl::Duration kWaitSlice = absl::Seconds(1);

int ThreadsOf(const config::RunConfig& config, int world) {
  if (config.learner().threads() > 0) return config.learner().threads();
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()) / world);
}

}  // namespace

Learner::Learner(LearnerOptions options) : options_(std::move(options)) {}
Learner::~Learner() = default;

absl::StatusOr<std::unique_ptr<Learner>> Learner::Create(LearnerOptions options) {
  std::unique_ptr<Learner> learner(new Learner(std::move(options)));
  const LearnerOptions& o = learner->options_;
  ops::SetThreads(ThreadsOf(o.config, o.world));
  RETURN_IF_ERROR(learner->ServeMetrics());
  learner->readiness_.Watch([] { return std::string("joining the other ranks"); });
  ASSIGN_OR_RETURN(std::unique_ptr<Collective> collective,
                   CreateCollective({.rank = o.rank,
                                     .world = o.world,
                                     .store_host = o.store_host,
                                     .store_port = o.store_port,
                                     .timeout = absl::Seconds(o.config.learner().collective_timeout_s()),
                                     .device = o.device.Text()}));
  learner->collective_ = std::make_unique<CountedCollective>(std::move(collective), learner->metrics_.get());
  learner->readiness_.Watch([] { return std::string("loading the model"); });
  RETURN_IF_ERROR(learner->LoadPolicy());
  if (o.resume) RETURN_IF_ERROR(learner->LoadCheckpoint());
  if (learner->IsRoot()) RETURN_IF_ERROR(learner->Serve());
  return learner;
}

absl::Status Learner::ServeMetrics() {
  const config::RunConfig& config = options_.config;
  metrics_ =
      std::make_unique<MetricSet>(MetricSet::Options{.role = IsRoot() ? ProcessRole::kLearner : ProcessRole::kFollower,
                                                     .rank = options_.rank,
                                                     .task = config.task().name(),
                                                     .run_id = config.service().run_id()});
  const std::string& listen =
      options_.metrics_listen.empty() ? config.service().metrics_listen() : options_.metrics_listen;
  ASSIGN_OR_RETURN(metrics_server_, MetricsServer::Start(listen, metrics_.get(), &readiness_));
  TACTUS_LOG(INFO) << "serving metrics at http://" << metrics_server_->address() << "/metrics";
  return absl::OkStatus();
}

absl::Status Learner::LoadPolicy() {
  const config::RunConfig& config = options_.config;
  ASSIGN_OR_RETURN(model_folder_, OpenModelFolder(config.model().path()));
  const ModelConfig& shape = model_folder_.config;
  const GpuList gpus = ListGpus();
  const MemoryNeed need = LearnerMemory(absl::StrCat("learner-", options_.rank), shape, config, options_.device);
  RETURN_IF_ERROR(CheckOwnMemory(need, options_.device, config.learner().gpu_memory_mib(), gpus));
  share_weights_ = options_.device.is_gpu() &&
                   need.total() + SharedWeightsBytes(shape, config) <=
                       BudgetBytes(config.learner().gpu_memory_mib(), AvailableBytes(options_.device, gpus));
  ASSIGN_OR_RETURN(calibration_, HeadCalibration::FromProto(config.credit(), shape.num_layers, shape.num_heads));
  limits_ = {.max_prompt_tokens = config.rollout().max_prompt_tokens(),
             .max_completion_tokens = config.rollout().max_completion_tokens(),
             .completions_per_prompt = config.rollout().completions_per_prompt(),
             .vocab_size = static_cast<int>(model_folder_.config.vocab_size),
             .calibrated_heads = calibration_->heads()};
  const PolicyOptions policy_options{
      .dtype = StorageDTypeOf(config.model().dtype()),
      .trainable = {.activation_checkpointing = config.learner().activation_checkpointing(),
                    .logprob_chunk_tokens = config.learner().logprob_chunk_tokens(),
                    .temperature = static_cast<float>(config.rollout().temperature())},
      .device = options_.device};
  ASSIGN_OR_RETURN(std::unique_ptr<TrainablePolicy> policy, CreatePolicy(model_folder_, policy_options));
  std::unique_ptr<TrainablePolicy> reference;
  if (config.algorithm().kl_beta() > 0) {
    ASSIGN_OR_RETURN(reference, CreatePolicy(model_folder_, policy_options));
  }
  ASSIGN_OR_RETURN(trainer_, Trainer::Create(TrainerOptions::FromProto(config), std::move(policy), std::move(reference),
                                             *collective_));
  return absl::OkStatus();
}

absl::Status Learner::LoadCheckpoint() {
  absl::StatusOr<LoadedCheckpoint> loaded =
      LoadNewestCheckpoint(options_.folder.checkpoints(), trainer_->policy().layout(), limits_);
  if (absl::IsNotFound(loaded.status())) {
    TACTUS_LOG(INFO) << "no checkpoint in " << options_.folder.checkpoints() << ": starting from the beginning";
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(loaded.status());
  const std::string fingerprint = config::Fingerprint(options_.config);
  if (loaded->facts.config_fingerprint != fingerprint) {
    return absl::InvalidArgumentError(absl::StrCat(loaded->path, " belongs to another configuration (fingerprint ",
                                                   loaded->facts.config_fingerprint, ", this one has ", fingerprint,
                                                   ")"));
  }
  RETURN_IF_ERROR(trainer_->Restore(
      {.parameters = loaded->master, .first_moment = loaded->first_moment, .second_moment = loaded->second_moment},
      {.taken = loaded->facts.optimizer_steps, .skipped = loaded->facts.skipped_steps}));
  version_ = loaded->facts.version;
  learner_step_ = checkpointed_step_ = loaded->facts.learner_step;
  next_prompt_id_ = loaded->facts.data_cursor;
  calibration_->Restore(loaded->facts.head_classes);
  TACTUS_LOG(INFO) << "resumed from " << loaded->path << ", step " << learner_step_;
  if (IsRoot()) resumed_ = std::make_unique<LoadedCheckpoint>(*std::move(loaded));
  return absl::OkStatus();
}

absl::Status Learner::Serve() {
  const config::RunConfig& config = options_.config;
  ASSIGN_OR_RETURN(prompts_, PromptSource::Create(config));
  ASSIGN_OR_RETURN(checkpointer_, Checkpointer::Open({.folder = options_.folder.checkpoints(),
                                                      .keep = config.checkpoint().keep(),
                                                      .model = model_folder_,
                                                      .model_dtype = StorageDTypeOf(config.model().dtype())}));
  std::optional<RolloutRestore> restore;
  // A folder that no learner has served from has nothing to restore: --resume may stand on a run's first start too.
  if (options_.resume && (resumed_ != nullptr || checkpointer_->incarnation() > 0)) {
    restore.emplace();
    restore->incarnation = checkpointer_->incarnation();
    if (resumed_ != nullptr) restore->snapshot = resumed_->facts.ledger;
    for (const uint64_t id : restore->snapshot.open_prompt_ids) {
      ASSIGN_OR_RETURN(restore->prompts.emplace_back(), prompts_->At(id));
    }
    resumed_.reset();
  }
  publisher_ = std::make_unique<WeightPublisher>(config.service().run_id());
  weight_service_ = MakeWeightService(publisher_.get(), &weight_bytes_sent_);
  RolloutServerOptions server{.listen = config.service().listen(),
                              .security = ChannelSecurity::FromProto(config.service()),
                              .run_id = config.service().run_id(),
                              .config_fingerprint = config::Fingerprint(config),
                              .limits = limits_,
                              .ledger = {.prompts_per_step = config.rollout().prompts_per_step(),
                                         .completions_per_prompt = config.rollout().completions_per_prompt(),
                                         .max_staleness_steps = config.rollout().max_staleness_steps(),
                                         .lease_timeout = absl::Seconds(config.rollout().lease_timeout_s()),
                                         .seed = config.seed()},
                              .metrics = metrics_.get(),
                              .log_folder = absl::StrCat(options_.folder.root, "/submissions"),
                              .more_services = {weight_service_.get()}};
  ASSIGN_OR_RETURN(server_, RolloutServer::Start(server, std::move(restore)));
  version_ = server_->version();
  SetLogVersion(VersionName(version_));
  RETURN_IF_ERROR(PublishWeights());
  ASSIGN_OR_RETURN(RhythmSummaryOptions rhythm, RhythmSummaryOptions::FromProto(config.credit()));
  const std::vector<int32_t> layers(config.credit().layers().begin(), config.credit().layers().end());
  ASSIGN_OR_RETURN(rhythm.layers, RhythmLayers(layers, model_folder_.config.num_layers));
  ASSIGN_OR_RETURN(recorder_,
                   RunRecorder::Open(options_.folder, learner_step_, rhythm, &prompts_->tokenizer(), metrics_.get()));
  metrics_->Set(Metric::kLearnerStep, static_cast<double>(learner_step_));
  metrics_->Set(Metric::kLearnerStepsPlanned, config.learner().steps());
  metrics_->Set(Metric::kWeightVersion, static_cast<double>(version_.step));
  return WriteReadyFile();
}

absl::Status Learner::WriteReadyFile() const {
  const std::string& listen = options_.config.service().listen();
  const std::string address = absl::StrCat(listen.substr(0, listen.rfind(':')), ":", server_->port());
  TACTUS_LOG(INFO) << "serving actors at " << address << ", metrics at " << metrics_server_->address();
  if (options_.ready_file.empty()) return absl::OkStatus();
  return WriteFileAtomic(options_.ready_file, absl::StrCat("{\"listen\":\"", address, "\",\"metrics\":\"",
                                                           metrics_server_->address(), "\"}\n"));
}

absl::Status Learner::Run(const std::atomic<bool>* stop) {
  stop_ = stop;
  readiness_.Watch([stop] { return std::string(*stop ? "asked to stop: finishing the step" : ""); });
  absl::Status status = IsRoot() ? RunRoot() : RunFollower();
  readiness_.Watch([] { return std::string("stopped"); });
  return status;
}

// What this rank, and thereby all, do next.
absl::StatusOr<StepOrder> Learner::Exchange(StepOrder order) {
  order.stop_asked = StopAsked();
  ASSIGN_OR_RETURN(StepOrder agreed, ExchangeStepOrder(*collective_, std::move(order), limits_));
  stop_asked_ = stop_asked_ || agreed.stop_asked;
  return agreed;
}

absl::Status Learner::EarlyStop() const {
  if (learner_step_ >= options_.config.learner().steps()) return absl::OkStatus();
  return absl::CancelledError(absl::StrCat("stopped when asked to, after step ", learner_step_, " of ",
                                           options_.config.learner().steps(), "; the checkpoint is complete"));
}

absl::Status Learner::RunRoot() {
  while (learner_step_ < options_.config.learner().steps() && !StopAsked()) {
    RETURN_IF_ERROR(FillPrompts());
    const absl::Time start = MonotonicNow();
    ASSIGN_OR_RETURN(std::vector<TrajectoryGroup> groups, AwaitGroups());
    if (groups.empty()) break;
    RETURN_IF_ERROR(RootStep(std::move(groups), SecondsSince(start)));
  }
  RETURN_IF_ERROR(Exchange({.kind = StepOrder::Kind::kStop, .version = version_, .groups = {}}).status());
  if (checkpointed_step_ != learner_step_) RETURN_IF_ERROR(Checkpoint());
  server_->Finish();
  return EarlyStop();
}

absl::Status Learner::RunFollower() {
  for (;;) {
    const absl::Time start = MonotonicNow();
    ASSIGN_OR_RETURN(const StepOrder order, Exchange({}));
    metrics_->Add(Metric::kLearnerPhaseSeconds, SecondsSince(start), "wait_trajectories");
    if (order.kind == StepOrder::Kind::kStop) return EarlyStop();
    if (order.kind != StepOrder::Kind::kTrain) continue;
    ASSIGN_OR_RETURN(const StepStats stats, trainer_->TrainStep(order.groups, order.version));
    ++learner_step_;
    SetLogVersion(VersionName({order.version.incarnation, order.version.step + 1}));
    ExposePhases(stats.seconds, *metrics_);
    metrics_->Set(Metric::kLearnerStep, static_cast<double>(learner_step_));
    metrics_->Set(Metric::kWeightVersion, static_cast<double>(order.version.step + 1));
  }
}

// Keeps the ledger's slots full, but never asks for more than the run will train.
absl::Status Learner::FillPrompts() {
  const uint64_t end = static_cast<uint64_t>(options_.config.learner().steps()) *
                       static_cast<uint64_t>(options_.config.rollout().prompts_per_step());
  std::vector<Prompt> prompts;
  for (int free = server_->FreeSlots(); free > 0 && next_prompt_id_ < end; --free) {
    ASSIGN_OR_RETURN(prompts.emplace_back(), prompts_->At(next_prompt_id_++));
  }
  return server_->AddPrompts(std::move(prompts));
}

// The step's groups, or none when asked to stop.
absl::StatusOr<std::vector<TrajectoryGroup>> Learner::AwaitGroups() {
  absl::Time told = MonotonicNow();
  while (!StopAsked()) {
    const absl::Time start = MonotonicNow();
    absl::StatusOr<std::vector<TrajectoryGroup>> groups =
        server_->TakeGroups(options_.config.rollout().prompts_per_step(), kWaitSlice);
    metrics_->Add(Metric::kLearnerPhaseSeconds, SecondsSince(start), "wait_trajectories");
    if (!absl::IsDeadlineExceeded(groups.status())) return groups;
    if (MonotonicNow() - told < kKeepAlive) continue;
    TACTUS_LOG(INFO) << groups.status().message();
    RETURN_IF_ERROR(Exchange({.kind = StepOrder::Kind::kWait, .version = version_, .groups = {}}).status());
    told = MonotonicNow();
  }
  return std::vector<TrajectoryGroup>();
}

absl::Status Learner::RootStep(std::vector<TrajectoryGroup> groups, double wait_s) {
  const absl::Time start = MonotonicNow();
  ASSIGN_OR_RETURN(const StepOrder order,
                   Exchange({.kind = StepOrder::Kind::kTrain, .version = version_, .groups = std::move(groups)}));
  ASSIGN_OR_RETURN(const StepStats stats, trainer_->TrainStep(order.groups, version_));
  ++learner_step_;
  calibration_->AfterStep(learner_step_, order.groups);
  StepContext context;
  context.step = learner_step_;
  context.before = version_;
  context.wait_s = wait_s;
  const absl::Time publish_start = MonotonicNow();
  RETURN_IF_ERROR(PublishNextVersion());
  RETURN_IF_ERROR(server_->Release(static_cast<int>(order.groups.size())));
  context.publish_s = SecondsSince(publish_start);
  if (CheckpointDue()) {
    const absl::Time checkpoint_start = MonotonicNow();
    RETURN_IF_ERROR(Checkpoint());
    context.checkpoint_s = SecondsSince(checkpoint_start);
  }
  context.version = version_;
  context.step_time_s = wait_s + SecondsSince(start);
  context.skipped_steps = trainer_->counts().skipped;
  context.counters = server_->Counters();
  context.weight_bytes_sent = weight_bytes_sent_;
  context.parameters = trainer_->policy().layout().total_numel;
  context.actors_connected = server_->AttachedActors();
  return recorder_->Record(context, stats, order.groups);
}

absl::Status Learner::PublishWeights() {
  const StorageDType dtype = StorageDTypeOf(options_.config.model().dtype());
  TrainableParameters& state = trainer_->policy().state();
  ASSIGN_OR_RETURN(std::vector<char> bytes, state.ReadWeights(dtype));
  std::optional<SharedWeights> shared;
  if (share_weights_) {
    absl::StatusOr<std::optional<SharedWeights>> set = state.Share(version_);
    share_weights_ = set.ok();
    if (set.ok()) {
      shared = *std::move(set);
    } else {
      TACTUS_LOG(WARNING) << set.status().message() << "; actors fetch all weights from now on";
    }
  }
  return publisher_->Publish(version_, trainer_->policy().layout(), std::move(bytes), dtype, calibration_->classes(),
                             std::move(shared));
}

// New weights first, then their announcement: an actor that hears of a version can fetch it.
absl::Status Learner::PublishNextVersion() {
  ++version_.step;
  SetLogVersion(VersionName(version_));
  RETURN_IF_ERROR(PublishWeights());
  return server_->SetVersion(version_);
}

bool Learner::CheckpointDue() const {
  const int every = options_.config.checkpoint().every_steps();
  return every > 0 && learner_step_ % every == 0;
}

absl::Status Learner::Checkpoint() {
  const absl::Time start = MonotonicNow();
  const StepCounts& counts = trainer_->counts();
  TrainFacts facts{.version = version_,
                   .optimizer_steps = counts.taken,
                   .skipped_steps = counts.skipped,
                   .schedule_step = counts.taken + counts.skipped,
                   .learner_step = learner_step_,
                   .data_cursor = next_prompt_id_,
                   .seed = options_.config.seed(),
                   .config_fingerprint = config::Fingerprint(options_.config),
                   .tactus_version = ThisBuild().version,
                   .ledger = {},
                   .head_classes = calibration_->classes()};
  ASSIGN_OR_RETURN(facts.ledger, server_->Snapshot());
  const double snapshot_s = SecondsSince(start);
  ASSIGN_OR_RETURN(const ParameterState state, trainer_->policy().state().ReadState());
  const absl::Status saved = checkpointer_->Save(
      facts, {.master = state.parameters, .first_moment = state.first_moment, .second_moment = state.second_moment});
  const double written_s = SecondsSince(start);
  metrics_->Add(Metric::kCheckpoints, 1, saved.ok() ? "written" : "failed");
  RETURN_IF_ERROR(saved);
  RETURN_IF_ERROR(server_->TruncateLog(checkpointer_->OldestLogSegment()));
  checkpointed_step_ = learner_step_;
  metrics_->Observe(Metric::kCheckpointDuration, snapshot_s, "snapshot");
  metrics_->Observe(Metric::kCheckpointDuration, written_s - snapshot_s, "write");
  metrics_->Observe(Metric::kCheckpointDuration, SecondsSince(start) - written_s, "truncate");
  metrics_->Add(Metric::kLearnerPhaseSeconds, SecondsSince(start), "checkpoint");
  metrics_->Set(Metric::kCheckpointLastSuccess, absl::ToDoubleSeconds(absl::Now() - absl::UnixEpoch()));
  return absl::OkStatus();
}

}  // namespace tactus
