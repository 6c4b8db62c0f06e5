#include "learner/learner.h"

#include <algorithm>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/config/run_config.h"
#include "common/device/devices.h"
#include "common/metrics/build_info.h"
#include "common/model/dtype_config.h"
#include "common/model/memory_need.h"
#include "common/ops/parallel.h"
#include "common/rhythm/rhythm.h"
#include "common/weights/grpc_weight_service.h"
#include "learner/step_exchange.h"
#include "learner/train/create_policy.h"

namespace tactus {
namespace {

// Rank 0 tells the others at least this often that it still waits for groups.
constexpr absl::Duration kKeepAlive = absl::Seconds(30);
constexpr absl::Duration kWaitSlice = absl::Seconds(1);

double Since(absl::Time start) { return absl::ToDoubleSeconds(absl::Now() - start); }

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
  ASSIGN_OR_RETURN(learner->collective_,
                   CreateCollective({.rank = o.rank,
                                     .world = o.world,
                                     .store_host = o.store_host,
                                     .store_port = o.store_port,
                                     .timeout = absl::Seconds(o.config.learner().collective_timeout_s()),
                                     .device = o.device.Text()}));
  RETURN_IF_ERROR(learner->LoadPolicy());
  if (o.resume) RETURN_IF_ERROR(learner->LoadCheckpoint());
  if (learner->IsRoot()) RETURN_IF_ERROR(learner->Serve());
  return learner;
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
  if (options_.resume) {
    restore.emplace();
    restore->incarnation = checkpointer_->incarnation();
    if (resumed_ != nullptr) restore->snapshot = resumed_->facts.ledger;
    for (const uint64_t id : restore->snapshot.open_prompt_ids) {
      ASSIGN_OR_RETURN(restore->prompts.emplace_back(), prompts_->At(id));
    }
    resumed_.reset();
  }
  metrics_ = std::make_unique<MetricSet>(MetricSet::Options{
      .role = ProcessRole::kLearner, .task = config.task().name(), .run_id = config.service().run_id()});
  ASSIGN_OR_RETURN(metrics_server_,
                   MetricsServer::Start(config.service().metrics_listen(), metrics_.get(), &readiness_));
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
                              .log_folder = absl::StrCat(options_.folder.root, "/submissions"),
                              .more_services = {weight_service_.get()}};
  ASSIGN_OR_RETURN(server_, RolloutServer::Start(server, std::move(restore)));
  version_ = server_->version();
  RETURN_IF_ERROR(PublishWeights());
  ASSIGN_OR_RETURN(RhythmSummaryOptions rhythm, RhythmSummaryOptions::FromProto(config.credit()));
  const std::vector<int32_t> layers(config.credit().layers().begin(), config.credit().layers().end());
  ASSIGN_OR_RETURN(rhythm.layers, RhythmLayers(layers, model_folder_.config.num_layers));
  ASSIGN_OR_RETURN(recorder_,
                   RunRecorder::Open(options_.folder, learner_step_, rhythm, &prompts_->tokenizer(), metrics_.get()));
  metrics_->Set(Metric::kQueueCapacity, server_->FreeSlots());
  readiness_.Watch([] { return std::string(); });
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

absl::Status Learner::Run(const std::atomic<bool>* stop) { return IsRoot() ? RunRoot(*stop) : RunFollower(); }

absl::Status Learner::RunRoot(const std::atomic<bool>& stop) {
  while (learner_step_ < options_.config.learner().steps() && !stop) {
    RETURN_IF_ERROR(FillPrompts());
    const absl::Time start = absl::Now();
    ASSIGN_OR_RETURN(std::vector<TrajectoryGroup> groups, AwaitGroups(stop));
    if (groups.empty()) break;
    RETURN_IF_ERROR(RootStep(std::move(groups), Since(start)));
  }
  RETURN_IF_ERROR(
      ExchangeStepOrder(*collective_, {.kind = StepOrder::Kind::kStop, .version = version_, .groups = {}}, limits_)
          .status());
  if (checkpointed_step_ != learner_step_) RETURN_IF_ERROR(Checkpoint());
  server_->Finish();
  return absl::OkStatus();
}

absl::Status Learner::RunFollower() {
  for (;;) {
    ASSIGN_OR_RETURN(const StepOrder order, ExchangeStepOrder(*collective_, {}, limits_));
    if (order.kind == StepOrder::Kind::kStop) return absl::OkStatus();
    if (order.kind == StepOrder::Kind::kTrain)
      RETURN_IF_ERROR(trainer_->TrainStep(order.groups, order.version).status());
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
absl::StatusOr<std::vector<TrajectoryGroup>> Learner::AwaitGroups(const std::atomic<bool>& stop) {
  absl::Time told = absl::Now();
  while (!stop) {
    absl::StatusOr<std::vector<TrajectoryGroup>> groups =
        server_->TakeGroups(options_.config.rollout().prompts_per_step(), kWaitSlice);
    if (!absl::IsDeadlineExceeded(groups.status())) return groups;
    if (absl::Now() - told < kKeepAlive) continue;
    TACTUS_LOG(INFO) << groups.status().message();
    RETURN_IF_ERROR(
        ExchangeStepOrder(*collective_, {.kind = StepOrder::Kind::kWait, .version = version_, .groups = {}}, limits_)
            .status());
    told = absl::Now();
  }
  return std::vector<TrajectoryGroup>();
}

absl::Status Learner::RootStep(std::vector<TrajectoryGroup> groups, double wait_s) {
  const absl::Time start = absl::Now();
  ASSIGN_OR_RETURN(
      const StepOrder order,
      ExchangeStepOrder(*collective_,
                        {.kind = StepOrder::Kind::kTrain, .version = version_, .groups = std::move(groups)}, limits_));
  ASSIGN_OR_RETURN(const StepStats stats, trainer_->TrainStep(order.groups, version_));
  ++learner_step_;
  calibration_->AfterStep(learner_step_, order.groups);
  StepContext context;
  context.step = learner_step_;
  context.before = version_;
  context.wait_s = wait_s;
  const absl::Time publish_start = absl::Now();
  RETURN_IF_ERROR(PublishNextVersion());
  RETURN_IF_ERROR(server_->Release(static_cast<int>(order.groups.size())));
  context.publish_s = Since(publish_start);
  if (CheckpointDue()) {
    const absl::Time checkpoint_start = absl::Now();
    RETURN_IF_ERROR(Checkpoint());
    context.checkpoint_s = Since(checkpoint_start);
  }
  context.version = version_;
  context.step_time_s = wait_s + Since(start);
  context.skipped_steps = trainer_->counts().skipped;
  context.counters = server_->Counters();
  context.weight_bytes_sent = weight_bytes_sent_;
  for (const ConnectedActor& actor : server_->Actors()) context.actors_connected += actor.attached ? 1 : 0;
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
  RETURN_IF_ERROR(PublishWeights());
  return server_->SetVersion(version_);
}

bool Learner::CheckpointDue() const {
  const int every = options_.config.checkpoint().every_steps();
  return every > 0 && learner_step_ % every == 0;
}

absl::Status Learner::Checkpoint() {
  const absl::Time start = absl::Now();
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
  ASSIGN_OR_RETURN(const ParameterState state, trainer_->policy().state().ReadState());
  const absl::Status saved = checkpointer_->Save(
      facts, {.master = state.parameters, .first_moment = state.first_moment, .second_moment = state.second_moment});
  metrics_->Add(Metric::kCheckpoints, 1, saved.ok() ? "written" : "failed");
  RETURN_IF_ERROR(saved);
  RETURN_IF_ERROR(server_->TruncateLog(checkpointer_->OldestLogSegment()));
  checkpointed_step_ = learner_step_;
  metrics_->Observe(Metric::kCheckpointDuration, Since(start), "write");
  metrics_->Set(Metric::kCheckpointLastSuccess, absl::ToDoubleSeconds(absl::Now() - absl::UnixEpoch()));
  return absl::OkStatus();
}

}  // namespace tactus
