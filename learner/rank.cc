#include "learner/rank.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/monotonic_clock.h"
#include "common/base/only_owner.h"
#include "common/base/status_macros.h"
#include "common/config/run_config.h"
#include "common/config/storage_dtype.h"
#include "common/config/task_sources.h"
#include "common/device/devices.h"
#include "common/device/host_limits.h"
#include "common/environment/environment_codec.h"
#include "common/model/memory_need.h"
#include "common/ops/cpu/parallel.h"
#include "common/rhythm/credit_assigner.h"
#include "learner/checkpoint/checkpointer.h"
#include "learner/counted_collective.h"
#include "learner/head_calibration.h"
#include "learner/records/run_recorder.h"
#include "learner/replicas.h"
#include "learner/train/create_policy.h"
#include "proto/config.pb.h"

namespace tactus {
namespace {

int ThreadsOf(const config::RunConfig& config, int world) {
  if (config.learner().threads() > 0) return config.learner().threads();
  return std::max(1, OwnHostLimits().cpus / world);
}

std::string StreamSentence(const TrainerOptions& options) {
  if (options.streams()) {
    return absl::StrCat("learner.stream: groups are trained on as they come, ", options.micro_batch_tokens,
                        " tokens at a time");
  }
  const std::string why = options.stream ? options.WhyWhole() : "it is false";
  return absl::StrCat("learner.stream: a step waits for all of its groups, as ", why);
}

absl::Time EndOf(double time_limit_s) {
  return time_limit_s > 0 ? MonotonicNow() + absl::Seconds(time_limit_s) : absl::InfiniteFuture();
}

// Of any source: which one a group is of, its rewards are checked for when it was trained.
double MostFormatReward(const config::TaskOptions& task) {
  double most = 0;
  for (const config::TaskOptions& source : config::SourcesOf(task)) most = std::max(most, source.format_reward());
  return most;
}

}  // namespace

Rank::Rank(LearnerOptions options, const std::atomic<bool>* stop)
    : options_(std::move(options)), stop_(stop), stop_at_(EndOf(options_.config->learner().time_limit_s())) {}

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
  readiness_.WatchLife([this] { return heartbeat_.Hung(); });
  ASSIGN_OR_RETURN(std::unique_ptr<Collective> collective,
                   CreateCollective({.rank = options_.rank,
                                     .world = options_.world,
                                     .store_host = options_.store_host,
                                     .store_port = options_.store_port,
                                     .timeout = absl::Seconds(options_.config->learner().collective_timeout_s()),
                                     .device = options_.device.Text(),
                                     .on_overdue = [this](const std::string& what) { heartbeat_.Overdue(what); }}));
  collective_ = std::make_unique<CountedCollective>(std::move(collective), metrics_.get());
  options_.joined();
  return absl::OkStatus();
}

absl::Status Rank::LoadModel() {
  readiness_.Watch([] { return std::string("loading the model"); });
  const config::RunConfig& config = *options_.config;
  ASSIGN_OR_RETURN(model_, OpenModelFolder(config.model().path()));
  const ModelConfig& shape = model_.config;
  RETURN_IF_ERROR(CheckMemory());
  ASSIGN_OR_RETURN(const HeadCalibration calibration,
                   HeadCalibration::FromProto(config.credit(), shape.num_layers, shape.num_heads));
  ASSIGN_OR_RETURN(const CreditAssigner credit, CreditAssigner::FromProto(config.credit()));
  const bool served = config::EnvironmentJudges(config.task());
  limits_ = {.max_prompt_tokens = config.rollout().max_prompt_tokens(),
             .max_completion_tokens = config.rollout().max_completion_tokens(),
             .completions_per_prompt = config.rollout().completions_per_prompt(),
             .vocab_size = static_cast<int>(shape.vocab_size),
             .calibrated_heads = calibration.heads(),
             .min_credit = credit.Bounds().min,
             .max_credit = credit.Bounds().max,
             // Of a server's rewards the sum is bounded, and what is beside right or wrong is "format".
             .min_format_reward = served ? -kMaxEnvironmentReward - 1 : 0,
             .max_format_reward = served ? kMaxEnvironmentReward : MostFormatReward(config.task()),
             .max_turns = served && config.task().sources().empty() ? config.rollout().max_turns() : 1,
             .sources = static_cast<int>(config::SourceNames(config.task()).size())};
  PolicyOptions policy_options = PolicyOptions::FromProto(config);
  policy_options.device = options_.device;
  if (options_.device.is_gpu()) policy_options.trainable.most_rows = MicroBatchRows(config);
  policy_options.sharding = sharding_;
  policy_options.collective = collective_.get();
  ASSIGN_OR_RETURN(std::unique_ptr<TrainablePolicy> policy, CreatePolicy(model_, policy_options));
  std::unique_ptr<TrainablePolicy> reference;
  if (config.algorithm().kl_beta() > 0) {
    PolicyOptions reference_options = policy_options;
    reference_options.sharding.trains = false;
    ASSIGN_OR_RETURN(reference, CreatePolicy(model_, reference_options));
  }
  const TrainerOptions options = TrainerOptions::FromProto(config);
  if (options_.rank == 0) TACTUS_LOG(INFO) << StreamSentence(options);
  ASSIGN_OR_RETURN(trainer_, Trainer::Create(options, std::move(policy), std::move(reference), *collective_));
  return absl::OkStatus();
}

// How much of the optimizer this rank keeps, and whether all of it fits the device.
absl::Status Rank::CheckMemory() {
  const config::RunConfig& config = *options_.config;
  const ModelConfig& shape = model_.config;
  const GpuList gpus = ListGpus();
  const int64_t budget = RankBudgetBytes(config, options_.device, options_.world, gpus);
  sharding_ = {.shard = ChooseShard(shape, config, options_.device, options_.world, budget),
               .rank = options_.rank,
               .world = options_.world};
  const double mine = static_cast<double>(sharding_.shard);
  std::vector<double> all(static_cast<size_t>(options_.world));  // the rank with the least memory decides for all
  RETURN_IF_ERROR(collective_->AllGather(std::span(&mine, 1), all));
  sharding_.shard = static_cast<Shard>(std::ranges::max(all));
  const std::string name = absl::StrCat("learner-", options_.rank);
  const MemoryNeed need = LearnerMemory(name, shape, config, options_.device, sharding_);
  if (options_.world > 1 && options_.rank == 0) {
    TACTUS_LOG(INFO) << "learner.shard " << ShardName(sharding_.shard) << " on " << options_.world
                     << " ranks: " << BytesText(need.total()) << " each, as predicted";
  }
  RETURN_IF_ERROR(CheckOwnMemory(need, LearnerHostMemory(name, shape, config, sharding_), options_.device,
                                 config.learner().gpu_memory_mib(), gpus));
  room_for_shared_weights_ = options_.device.is_gpu() && config.gpu().shared_weights() &&
                             need.total() + SharedWeightsBytes(shape, config) <= budget;
  return absl::OkStatus();
}

// Rank 0's choice, by its step: 0 is none, and what went wrong there ends all. Its error, on rank 0.
absl::StatusOr<std::string> Rank::AgreeOnCheckpoint() {
  struct Choice {
    uint64_t step = 0;
    absl::StatusCode code = absl::StatusCode::kOk;
  } choice;
  const std::string folder = options_.folder.checkpoints();
  absl::StatusOr<std::string> newest = absl::InternalError("not rank 0");
  if (options_.rank == 0) {
    newest = NewestGoodCheckpoint(folder);
    choice.code = newest.status().code();
    if (newest.ok()) choice.step = *CheckpointStep(*newest);
  }
  RETURN_IF_ERROR(collective_->Broadcast({reinterpret_cast<char*>(&choice), sizeof(choice)}, /*root=*/0));
  if (options_.rank == 0) return newest;
  if (choice.code == absl::StatusCode::kOk) return CheckpointPath(folder, choice.step);
  return absl::Status(choice.code, "rank 0 has no checkpoint to go on from");
}

absl::StatusOr<std::optional<TrainFacts>> Rank::Restore() {
  const absl::StatusOr<std::string> path = AgreeOnCheckpoint();
  if (absl::IsNotFound(path.status())) {
    TACTUS_LOG(INFO) << "no checkpoint in " << options_.folder.checkpoints() << ": starting from the beginning";
    return std::nullopt;
  }
  RETURN_IF_ERROR(path.status());
  TrainablePolicy& policy = trainer_->policy();
  absl::StatusOr<LoadedCheckpoint> loaded = LoadCheckpoint(*path, policy.layout(), policy.state().share(), limits_);
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

// The memory of a set that nobody reads any more. Others that are free go: as many sets stay as are in use at once.
std::vector<char> Rank::SpareSet() {
  std::vector<char> spare;
  std::erase_if(sets_, [&spare](const std::shared_ptr<std::vector<char>>& set) {
    if (!OnlyOwner(set)) return false;
    if (spare.empty()) spare = std::move(*set);
    return true;
  });
  return spare;
}

absl::StatusOr<WeightBytes> Rank::ReadWeights() {
  if (weights_ != nullptr) return weights_;
  const StorageDType dtype = StorageDTypeOf(options_.config->model().dtype());
  ASSIGN_OR_RETURN(std::vector<char> bytes, trainer_->policy().state().ReadWeights(dtype, *collective_, SpareSet()));
  auto read = std::make_shared<std::vector<char>>(std::move(bytes));
  if (options_.rank != 0) return read;
  sets_.push_back(read);
  weights_ = std::move(read);
  return weights_;
}

// Of divided parameters, which every rank must help to read.
absl::Status Rank::GatherWeights() {
  weights_ = nullptr;
  return parameters_divided() ? ReadWeights().status() : absl::OkStatus();
}

absl::Status Rank::CompareParameters() {
  if (options_.world == 1 || parameters_divided()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const WeightBytes weights, ReadWeights());
  return CompareReplicas(*collective_, *weights);
}

absl::StatusOr<std::function<absl::Status()>> Rank::ShareWriter() {
  TrainableParameters& state = trainer_->policy().state();
  if (!OnlyOwner(snapshot_)) snapshot_ = std::make_shared<ParameterSnapshot>();
  ASSIGN_OR_RETURN(*snapshot_, state.ReadState(std::move(*snapshot_)));
  return [mine = std::shared_ptr<const ParameterSnapshot>(snapshot_), ranges = state.share(),
          &layout = trainer_->policy().layout(), rank = options_.rank, world = share_writers(),
          aside = UnfinishedCheckpoint(options_.folder.checkpoints(), version_.step)] {
    const TrainTensors tensors{ranges, mine->parameters, mine->first_moment, mine->second_moment};
    return NoteOptimizerFile(aside, rank, world, WriteOptimizerFile(aside, rank, world, layout, tensors));
  };
}

// The other ranks' part of a checkpoint. Rank 0 has waited for the one before.
absl::Status Rank::Save() {
  RETURN_IF_ERROR(CompareParameters());
  if (!sharded()) return absl::OkStatus();
  saving_ = nullptr;
  ASSIGN_OR_RETURN(std::function<absl::Status()> write, ShareWriter());
  ASSIGN_OR_RETURN(saving_,
                   BackgroundTask::Start("writing checkpoints",
                                         [write = std::move(write)](const std::atomic<bool>&) { return write(); }));
  return absl::OkStatus();
}

absl::Status Rank::WhileReady(absl::FunctionRef<absl::Status()> run) {
  readiness_.Watch([this] { return std::string(*stop_ || TimeIsOver() ? "asked to stop: finishing the step" : ""); });
  absl::Status status = run();
  readiness_.WatchLife([] { return std::string(); });
  readiness_.Watch([] { return std::string("stopped"); });
  return status;
}

absl::Status Rank::Exchange(StepOrder& order) {
  order.stop_asked = StopAsked();
  RETURN_IF_ERROR(ExchangeStepOrder(*collective_, order, limits_));
  stop_asked_ = stop_asked_ || order.stop_asked;
  heartbeat_.Waited();
  return absl::OkStatus();
}

int Rank::groups_wanted() const {
  return options_.config->rollout().prompts_per_step() - static_cast<int>(groups_.size());
}

absl::StatusOr<std::optional<TakenStep>> Rank::Train(StepOrder order) {
  const size_t before = groups_.size(), wanted = static_cast<size_t>(groups_wanted());
  if (order.groups.size() > wanted) {
    return absl::InternalError(absl::StrCat("rank 0 orders ", order.groups.size(), " groups for a step that lacks ",
                                            wanted, ": do all ranks have the same configuration?"));
  }
  if (before == 0) {
    groups_.reserve(wanted);  // the trainer points at them
    RETURN_IF_ERROR(trainer_->BeginStep(wanted, order.version));
  }
  std::ranges::move(order.groups, std::back_inserter(groups_));
  RETURN_IF_ERROR(trainer_->AddGroups(std::span(groups_).subspan(before)));
  if (groups_wanted() > 0) return std::nullopt;
  ASSIGN_OR_RETURN(StepRecord stats, trainer_->FinishStep());
  RETURN_IF_ERROR(GatherWeights());
  heartbeat_.Worked();
  ++step_;
  SetVersion({order.version.incarnation, order.version.step + 1});
  return TakenStep{std::move(stats), std::exchange(groups_, {})};
}

absl::StatusOr<std::vector<TrajectoryGroup>> Rank::AbandonStep() {
  RETURN_IF_ERROR(trainer_->AbandonStep());
  return std::exchange(groups_, {});
}

absl::Status Rank::Follow() {
  for (;;) {
    const absl::Time start = MonotonicNow();
    StepOrder order;
    RETURN_IF_ERROR(Exchange(order));
    metrics_->Add(Metric::kLearnerPhaseSeconds, SecondsSince(start), "wait_trajectories");
    if (order.kind == StepOrder::Kind::kStop) return Ending();
    if (order.kind == StepOrder::Kind::kSave) {  // between two steps: one that was begun is not taken
      RETURN_IF_ERROR(AbandonStep().status());
      RETURN_IF_ERROR(Save());
    }
    // Rank 0 reads in the note how the writing went, unless there is not even room for that.
    if (saving_ != nullptr) RETURN_IF_ERROR(saving_->Wait(absl::ZeroDuration()).value_or(absl::OkStatus()));
    if (order.kind != StepOrder::Kind::kTrain) continue;
    ASSIGN_OR_RETURN(const std::optional<TakenStep> taken, Train(std::move(order)));
    if (!taken.has_value()) continue;
    ExposePhases(taken->stats, *metrics_);
    metrics_->Set(Metric::kLearnerStep, static_cast<double>(step_));
    metrics_->Set(Metric::kWeightVersion, static_cast<double>(version_.step));
  }
}

absl::Status Rank::Ending() const {
  const int64_t last = options_.config->learner().steps();
  if (step_ >= last) return absl::OkStatus();
  const absl::Status diverged = trainer_->Diverged();
  // It is rank 0 that fails, once its checkpoint is written: whoever started the ranks ends all when one fails.
  if (options_.rank == 0) RETURN_IF_ERROR(diverged);
  std::string why = "stopped when asked to";
  if (!diverged.ok()) {
    why = absl::StrCat("stopped by rank 0, as ", diverged.message());
  } else if (TimeIsOver() && !*stop_) {
    why = absl::StrCat("stopped by learner.time_limit_s = ", options_.config->learner().time_limit_s());
  }
  return absl::CancelledError(absl::StrCat(why, ", after step ", step_, " of ", last, "; the checkpoint is complete"));
}

bool Rank::TimeIsOver() const { return MonotonicNow() >= stop_at_; }

void Rank::SetVersion(PolicyVersion version) {
  version_ = version;
  SetLogVersion(VersionName(version_));
}

}  // namespace tactus
