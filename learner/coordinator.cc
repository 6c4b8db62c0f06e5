#include "learner/coordinator.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/host_port.h"
#include "common/base/log.h"
#include "common/base/monotonic_clock.h"
#include "common/base/status_macros.h"
#include "common/config/run_config.h"
#include "common/config/storage_dtype.h"
#include "common/config/task_sources.h"
#include "common/metrics/build_info.h"
#include "common/ops/cpu/parallel.h"
#include "common/rhythm/rhythm.h"
#include "common/weights/grpc_weight_service.h"
#include "common/weights/weight_codec.h"
#include "learner/ledger/group_facts.h"
#include "learner/train/trainer_options.h"
#include "proto/config.pb.h"

namespace tactus {
namespace {

constexpr absl::Duration kReplaceSlice = absl::Milliseconds(50);  // until a group without signal is replaced, at most
// What an actor may hold, in actor.max_leases: those it works on, and as many that it has given up and the ledger not.
constexpr int kLeaseSlack = 2;
constexpr size_t kShownActorsBytes = 512;

}  // namespace

Coordinator::Coordinator(Rank* rank, HeadCalibration calibration, const std::optional<TrainFacts>& resumed)
    : rank_(*rank),
      calibration_(std::move(calibration)),
      timeline_(MonotonicNow()),
      // An actor may hold any version that still gets leases, and one more while it fetches.
      publisher_(config().service().run_id(), config().rollout().max_staleness_steps() + 2, ops::Threads()),
      share_weights_(rank->room_for_shared_weights()),
      weight_service_(MakeWeightService(&publisher_, &weight_bytes_sent_)),
      signal_(config().rollout().max_completion_tokens()) {
  if (!resumed.has_value()) return;
  calibration_.Restore(resumed->head_classes);
  next_prompt_id_ = resumed->data_cursor;
  checkpointed_step_ = resumed->learner_step;
}

Coordinator::~Coordinator() {
  if (server_ != nullptr) server_->EndEvaluations();  // the publishing thread may wait for one
}

absl::StatusOr<std::unique_ptr<Coordinator>> Coordinator::Create(Rank* rank, FolderLock lock,
                                                                 std::optional<TrainFacts> resumed) {
  const ModelConfig& shape = rank->model().config;
  ASSIGN_OR_RETURN(HeadCalibration calibration,
                   HeadCalibration::FromProto(rank->options().config->credit(), shape.num_layers, shape.num_heads));
  std::unique_ptr<Coordinator> coordinator(new Coordinator(rank, std::move(calibration), resumed));
  ASSIGN_OR_RETURN(coordinator->prompts_, PromptSource::Create(coordinator->config(), shape.vocab_size));
  ASSIGN_OR_RETURN(coordinator->rounds_, HeldOutRounds::Create(coordinator->config(), coordinator->prompts_->held_out(),
                                                               coordinator->options().folder));
  if (resumed.has_value() && !resumed->data_fingerprint.empty() &&
      resumed->data_fingerprint != coordinator->prompts_->fingerprint()) {
    return absl::InvalidArgumentError(
        "the train questions are not those that the checkpoint was trained on: expected the same rows in the same "
        "order, or a new run from the checkpoint's model folder.");
  }
  if (resumed.has_value()) RETURN_IF_ERROR(coordinator->prompts_->difficulty().Restore(resumed->prompt_difficulty));
  ASSIGN_OR_RETURN(std::optional<RolloutRestore> restore,
                   coordinator->OpenCheckpoints(std::move(lock), std::move(resumed)));
  RETURN_IF_ERROR(coordinator->Serve(std::move(restore)));
  RETURN_IF_ERROR(coordinator->OpenRecords());
  RETURN_IF_ERROR(coordinator->WriteReadyFile());
  return coordinator;
}

absl::Status Coordinator::Serve(std::optional<RolloutRestore> restore) {
  RolloutServerOptions server{.listen = config().service().listen(),
                              .security = ChannelSecurity::FromProto(config().service()),
                              .run_id = config().service().run_id(),
                              .config_fingerprint = config::Fingerprint(config()),
                              .limits = rank_.limits(),
                              .ledger = {.prompts_per_step = config().rollout().prompts_per_step(),
                                         .completions_per_prompt = config().rollout().completions_per_prompt(),
                                         .max_staleness_steps = config().rollout().max_staleness_steps(),
                                         .lease_timeout = absl::Seconds(config().rollout().lease_timeout_s()),
                                         .max_attempts = config().rollout().max_attempts(),
                                         .seed = config().seed(),
                                         .max_replaced_groups = config().rollout().max_replaced_groups(),
                                         .advantage_level = TrainerOptions::FromProto(config()).advantage_level},
                              .evaluation_samples = rounds_->most_samples(),
                              .max_leases_per_actor = kLeaseSlack * config().actor().max_leases(),
                              .metrics = &rank_.metrics(),
                              .log_folder = absl::StrCat(options().folder.root, "/submissions"),
                              .relay_fan_out = config().service().relay_fan_out(),
                              .more_services = {weight_service_.get()}};
  ASSIGN_OR_RETURN(server_, RolloutServer::Start(server, std::move(restore)));
  rank_.SetVersion(server_->version());
  // New weights first, then their announcement: an actor that hears of a version can fetch it. Of the first it hears
  // when it attaches.
  const auto published = [this](PolicyVersion version, absl::Duration took) -> absl::Status {
    ShowPublished(took);
    if (std::optional<EvalRound> due = rounds_->Due(version)) {
      RETURN_IF_ERROR(server_->BeginEvaluation(*std::move(due)));
    }
    return server_->SetVersion(version, ManifestDigest(publisher_.Newest()->manifest));
  };
  ASSIGN_OR_RETURN(publishing_, BackgroundPublisher::Start(&publisher_, &rank_.trainer().policy().layout(), published,
                                                           [this] { AwaitMeasured(); }));
  RETURN_IF_ERROR(PublishWeights());
  return publishing_->Drain();
}

void Coordinator::ShowPublished(absl::Duration took) {
  MetricSet& metrics = rank_.metrics();
  const uint64_t delta_bytes = publisher_.NewestDeltaBytes();
  metrics.Observe(Metric::kWeightPublishDuration, absl::ToDoubleSeconds(took));
  metrics.Add(Metric::kWeightVersions, 1, delta_bytes > 0 ? "delta" : "full");
  metrics.Set(Metric::kWeightSetBytes, static_cast<double>(delta_bytes), "delta");
  metrics.Set(Metric::kWeightSetBytes, static_cast<double>(publisher_.Newest()->manifest.total_bytes), "full");
}

absl::Status Coordinator::OpenRecords() {
  ASSIGN_OR_RETURN(RhythmSummaryOptions rhythm, RhythmSummaryOptions::FromProto(config().credit()));
  const std::vector<int32_t> layers(config().credit().layers().begin(), config().credit().layers().end());
  ASSIGN_OR_RETURN(rhythm.layers, RhythmLayers(layers, rank_.model().config.num_layers));
  MetricSet& metrics = rank_.metrics();
  ASSIGN_OR_RETURN(recorder_,
                   RunRecorder::Open(options().folder, rank_.step(), rhythm, &prompts_->tokenizer(), &metrics));
  for (const config::TaskSource& source : config().task().sources()) {
    for (const char* kind : {"informative", "all_pass", "all_fail"}) {
      metrics.AddOf(Metric::kSourceGroups, source.name(), 0, kind);
    }
  }
  metrics.Set(Metric::kLearnerStep, static_cast<double>(rank_.step()));
  metrics.Set(Metric::kLearnerStepsPlanned, config().learner().steps());
  metrics.Set(Metric::kWeightVersion, static_cast<double>(rank_.version().step));
  return absl::OkStatus();
}

absl::Status Coordinator::WriteReadyFile() const {
  ASSIGN_OR_RETURN(HostPort listen, HostPort::Parse(config().service().listen(), "service.listen"));
  listen.port = server_->port();
  const std::string address = listen.Dialable().Text();  // the launcher's actors connect to it
  TACTUS_LOG(INFO) << "serving actors at " << address << ", metrics at " << rank_.metrics_address();
  if (options().ready_file.empty()) return absl::OkStatus();
  return WriteFileAtomic(options().ready_file, absl::StrCat("{\"listen\":\"", address, "\",\"metrics\":\"",
                                                            rank_.metrics_address(), "\"}\n"));
}

absl::Status Coordinator::Run() {
  absl::Status status;
  StepOrder order;
  step_start_ = MonotonicNow();
  while (rank_.step() < config().learner().steps() && !rank_.StopAsked() && rank_.trainer().Diverged().ok()) {
    const absl::Time start = MonotonicNow();
    absl::StatusOr<std::vector<TrajectoryGroup>> groups = NextGroups();
    const absl::Time taken_at = MonotonicNow();
    wait_s_ += absl::ToDoubleSeconds(taken_at - start);
    timeline_.Add(LearnerWork::kWait, start, taken_at);
    status = groups.status();
    if (!status.ok() || groups->empty()) break;
    order = {.kind = StepOrder::Kind::kTrain, .version = rank_.version(), .groups = *std::move(groups)};
    status = rank_.Exchange(order);
    if (!status.ok()) break;  // a rank is gone, and the parameters are those of the last step
    if (options().world > 1) timeline_.Add(LearnerWork::kExchange, taken_at, MonotonicNow());
    const PolicyVersion before = order.version;
    ASSIGN_OR_RETURN(std::optional<TakenStep> taken, rank_.Train(std::exchange(order, {})));
    for (const WorkSpan& span : rank_.trainer().TakeWork()) timeline_.Add(span.work, span.from, span.to);
    if (taken.has_value()) RETURN_IF_ERROR(EndStep(before, *std::move(taken)));
  }
  status.Update(PutBack(std::move(order.groups)));
  RETURN_IF_ERROR(End(status));
  const absl::Status ending = rank_.Ending();
  RETURN_IF_ERROR(EndHeldOut(/*wait=*/ending.ok()));
  if (ending.ok()) server_->Finish();  // otherwise actors stay: the run goes on when a learner is started again
  const absl::Status uploaded = EndUploads();
  return ending.ok() ? uploaded : ending;
}

// A step that lacks groups is not taken: what was taken for it, at last `newest`, answers prompts of the next
// learner's.
absl::Status Coordinator::PutBack(std::vector<TrajectoryGroup> newest) {
  RETURN_IF_ERROR(server_->PutBack(std::move(newest)));
  ASSIGN_OR_RETURN(std::vector<TrajectoryGroup> abandoned, rank_.AbandonStep());
  return server_->PutBack(std::move(abandoned));
}

absl::Status Coordinator::Tell(StepOrder::Kind kind) {
  StepOrder order{.kind = kind, .version = rank_.version(), .groups = {}};
  return rank_.Exchange(order);
}

// Between two steps, whatever ended them: what was trained is kept.
absl::Status Coordinator::End(absl::Status status) {
  status.Update(AwaitCheckpoint());
  if (checkpointed_step_ != rank_.step()) {
    status.Update(Checkpoint());
    status.Update(AwaitCheckpoint());
  }
  status.Update(Tell(StepOrder::Kind::kStop));
  return status;
}

// Keeps the ledger's slots full, but never asks for more than the run will train, or leave out. A dropped prompt is not
// trained: the next one of the data takes its place, in this step where the ledger is synchronous.
absl::Status Coordinator::FillPrompts() {
  const LedgerView view = server_->View();
  const int64_t trained = int64_t{config().learner().steps()} * config().rollout().prompts_per_step();
  const int64_t lacking = trained + view.replaceable - server_->Counters().trained - view.open;
  std::vector<Prompt> prompts;
  for (int64_t free = std::min<int64_t>(view.free_slots, lacking); free > 0; --free) {
    ASSIGN_OR_RETURN(prompts.emplace_back(), prompts_->Next(next_prompt_id_));
    next_prompt_id_ = prompts.back().id + 1;
  }
  return server_->AddPrompts(std::move(prompts));
}

// Those of the step's groups that can be trained on next, or none when asked to stop: as they come, or all.
absl::StatusOr<std::vector<TrajectoryGroup>> Coordinator::NextGroups() {
  const absl::Duration slice = config().rollout().max_replaced_groups() > 0 ? kReplaceSlice : kWaitSlice;
  const int wanted = rank_.groups_wanted(), least = rank_.trainer().streams() ? 1 : wanted;
  absl::Time told = MonotonicNow();
  while (!rank_.StopAsked()) {
    RETURN_IF_ERROR(publishing_->status());
    RETURN_IF_ERROR(FillPrompts());
    RETURN_IF_ERROR(PollHeldOut());
    const absl::Time start = MonotonicNow();
    absl::StatusOr<std::vector<TrajectoryGroup>> groups = server_->TakeGroups(wanted, least, slice);
    rank_.metrics().Add(Metric::kLearnerPhaseSeconds, SecondsSince(start), "wait_trajectories");
    if (!absl::IsDeadlineExceeded(groups.status())) return groups;
    if (MonotonicNow() - told < kKeepAlive) continue;
    TACTUS_LOG(INFO) << groups.status().message();
    RETURN_IF_ERROR(Tell(StepOrder::Kind::kWait));
    told = MonotonicNow();
  }
  return std::vector<TrajectoryGroup>();
}

// Between steps alone: with rollout.max_staleness_steps = 0 what a step asks then depends on the steps before it, and
// not on whose answers came first.
std::optional<PromptTally> Coordinator::LearnDifficulty(const std::vector<TrajectoryGroup>& trained) {
  const std::vector<PromptOutcome> left_out = server_->TakeLeftOut();  // in any case: they would pile up
  if (!prompts_->difficulty().on()) return std::nullopt;
  for (const TrajectoryGroup& group : trained) prompts_->Learn(OutcomeOf(group));
  for (const PromptOutcome& outcome : left_out) prompts_->Learn(outcome);
  return PromptTally{.never_share = prompts_->difficulty().never_share(),
                     .always_share = prompts_->difficulty().always_share(),
                     .passed_over = static_cast<int64_t>(next_prompt_id_) - server_->View().added};
}

std::vector<std::string> Coordinator::SourcesOf(const std::vector<TrajectoryGroup>& groups) {
  std::vector<std::string> sources;
  if (config().task().sources().empty()) return sources;
  const std::vector<std::string> names = config::SourceNames(config().task());
  for (const TrajectoryGroup& group : groups) sources.push_back(names[prompts_->SourceOf(group.prompt_id)]);
  return sources;
}

absl::Status Coordinator::EndStep(PolicyVersion before, TakenStep taken) {
  calibration_.AfterStep(rank_.step(), taken.groups);
  StepContext context;
  context.step = rank_.step();
  context.before = before;
  context.version = rank_.version();
  context.wait_s = std::exchange(wait_s_, 0);
  const absl::Time publish_start = MonotonicNow();
  RETURN_IF_ERROR(server_->SetTrained(rank_.version()));
  RETURN_IF_ERROR(PublishWeights());
  RETURN_IF_ERROR(server_->Release(static_cast<int>(taken.groups.size())));
  const absl::Time published = MonotonicNow();
  context.publish_s = absl::ToDoubleSeconds(published - publish_start);
  timeline_.Add(LearnerWork::kPublish, publish_start, published);
  context.timeline = timeline_.EndStep(rank_.step(), rank_.version(), taken.groups, published);
  RETURN_IF_ERROR(CheckRewards(absl::StrCat("step ", rank_.step()), taken.groups,
                               [this](TrajectoryGroup& group) { return prompts_->CountDisagreements(group); }));
  context.prompts = LearnDifficulty(taken.groups);
  context.sources = SourcesOf(taken.groups);
  context.checkpoint_s = std::exchange(checkpoint_s_, 0);
  context.step_time_s = context.checkpoint_s + SecondsSince(step_start_);
  context.skipped_steps = rank_.trainer().counts().skipped;
  context.counters = server_->Counters();
  context.weight_bytes_sent = weight_bytes_sent_;
  context.parameters = rank_.trainer().policy().layout().total_numel;
  context.actors_connected = server_->AttachedActors();
  taken.stats.step = context.step;
  if (const auto told = signal_.Add(taken.stats); told.has_value()) TACTUS_LOG(WARNING) << *told;
  // Before the checkpoint: a run resumed from it never writes this step's lines again.
  RETURN_IF_ERROR(recorder_->Record(context, std::move(taken.stats), taken.groups));
  RETURN_IF_ERROR(PollCheckpoint());
  const absl::Time recorded = MonotonicNow();
  timeline_.Add(LearnerWork::kRecords, published, recorded);
  if (CheckpointDue()) {
    RETURN_IF_ERROR(Checkpoint());
    timeline_.Add(LearnerWork::kCheckpoint, recorded, MonotonicNow());
  }
  step_start_ = MonotonicNow();
  return absl::OkStatus();
}

// The actors have the new weights by now and go on meanwhile.
absl::Status Coordinator::CheckRewards(absl::string_view what, std::vector<TrajectoryGroup>& groups,
                                       absl::FunctionRef<absl::StatusOr<int>(TrajectoryGroup&)> count) {
  int disagreements = 0;
  std::string actors;
  for (TrajectoryGroup& group : groups) {
    ASSIGN_OR_RETURN(const int here, count(group));
    if (here == 0) continue;
    disagreements += here;
    if (!absl::StrContains(actors, group.actor_id))
      absl::StrAppend(&actors, actors.empty() ? "" : ", ", group.actor_id);
  }
  rank_.metrics().Add(Metric::kRewardDisagreements, disagreements);
  if (disagreements == 0) return absl::OkStatus();
  TACTUS_LOG(WARNING) << what << ": " << disagreements << " rewards are not what the verifier says, by "
                      << actors.substr(0, kShownActorsBytes) << ": do they run this build, and are they ours?";
  return absl::OkStatus();
}

absl::Status Coordinator::PublishWeights() {
  const StorageDType dtype = StorageDTypeOf(config().model().dtype());
  TrainablePolicy& policy = rank_.trainer().policy();
  ASSIGN_OR_RETURN(WeightBytes bytes, rank_.ReadWeights());
  std::optional<SharedWeights> shared;
  if (share_weights_) {
    absl::StatusOr<std::optional<SharedWeights>> set = policy.state().Share(rank_.version());
    share_weights_ = set.ok();
    if (set.ok()) {
      shared = *std::move(set);
    } else {
      TACTUS_LOG(WARNING) << set.status().message() << "; actors fetch all weights from now on";
    }
  }
  return publishing_->Submit({.version = rank_.version(),
                              .bytes = std::move(bytes),
                              .dtype = dtype,
                              .head_classes = calibration_.classes(),
                              .shared = std::move(shared),
                              .handed_in = {}});
}

}  // namespace tactus
