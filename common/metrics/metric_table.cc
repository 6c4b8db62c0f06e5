#include "common/metrics/metric_table.h"

#include <algorithm>
#include <deque>
#include <iterator>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/metrics/step_record.h"

namespace tactus {
namespace {

using enum Metric;
constexpr MetricScope L = MetricScope::kLearner;
constexpr MetricScope R = MetricScope::kEveryRank;
constexpr MetricScope A = MetricScope::kActor;
constexpr MetricScope P = MetricScope::kEveryProcess;

constexpr const char* kCertificate[] = {"own", "ca"};
constexpr const char* kNonfiniteWhere[] = {"loss", "gradient", "reward", "logprob", "measure", "metric"};
constexpr const char* kOutcome[] = {"applied", "skipped"};
constexpr const char* kPhase[] = {"wait_trajectories", "forward", "backward",  "allreduce",
                                  "optimizer",         "publish", "checkpoint"};
constexpr const char* kTokenKind[] = {"prompt", "completion"};
constexpr const char* kSampledKind[] = {"prompt", "completion", "continuation"};
constexpr const char* kGroupKind[] = {"informative", "all_pass", "all_fail"};
constexpr const char* kRewardPart[] = {"total", "correct"};
constexpr const char* kVerdict[] = {"pass", "fail", "error"};
constexpr const char* kRejectReason[] = {"malformed", "nonfinite", "duplicate", "expired"};
constexpr const char* kDropReason[] = {"stale", "rolled_back", "no_signal"};
constexpr const char* kPromptState[] = {"waiting", "leased", "ready", "taken"};
constexpr const char* kLeaseEvent[] = {"granted", "expired", "returned"};
constexpr const char* kWeightForm[] = {"delta", "full"};
constexpr const char* kRelayWay[] = {"received", "sent"};
constexpr const char* kStreamRefusal[] = {"wrong_run",  "wrong_configuration", "wrong_protocol",
                                          "wrong_role", "violation",           "too_many"};
constexpr const char* kEvalOutcome[] = {"measured", "given_up"};
constexpr const char* kEvalScore[] = {"pass_1", "pass_1_low", "pass_1_high", "pass_k", "pass_k_low", "pass_k_high"};
constexpr const char* kEvalAnswer[] = {"accepted", "late", "refused"};
constexpr const char* kCheckpointPhase[] = {"snapshot", "write", "truncate"};
constexpr const char* kCheckpointOutcome[] = {"written", "failed", "uploaded", "upload_failed"};
constexpr const char* kSubmitOutcome[] = {"acknowledged", "held_out", "expired", "refused", "unscored"};
constexpr const char* kCallOutcome[] = {"ok", "unreachable", "timed_out", "too_large", "bad_reply", "failed"};
constexpr const char* kBlockedReason[] = {"backpressure", "weights", "scoring", "disconnected"};
constexpr const char* kRequestState[] = {"running", "waiting"};

constexpr double kStepSeconds[] = {0.1,  0.2,  0.4,   0.8,   1.6,   3.2,   6.4,    12.8,
                                   25.6, 51.2, 102.4, 204.8, 409.6, 819.2, 1638.4, 3276.8};
constexpr double kTransferSeconds[] = {0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300};
constexpr double kAckSeconds[] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5};
constexpr double kStalenessVersions[] = {0, 1, 2, 3, 4, 6, 8, 12, 16};
constexpr double kTokenCounts[] = {1,   2,    4,    8,    16,   32,    64,    128,   256,
                                   512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072};

constexpr MetricLabels kNone;
constexpr MetricLabels kEnv = {.name = nullptr, .values = {}, .env = true};

constexpr MetricLabels Closed(const char* name, std::span<const char* const> values) {
  return {.name = name, .values = values};
}
constexpr MetricLabels EnvAnd(const char* name, std::span<const char* const> values) {
  return {.name = name, .values = values, .env = true};
}
constexpr MetricLabels RankAnd(const char* name, std::span<const char* const> values) {
  return {.name = name, .values = values, .env = false, .rank = true};
}

constexpr MetricSpec Counter(Metric id, const char* name, MetricScope scope, const char* unit,
                             const MetricLabels& labels, const char* help) {
  return {id, name, MetricType::kCounter, scope, unit, help, labels, {}};
}
constexpr MetricSpec Gauge(Metric id, const char* name, MetricScope scope, const char* unit, const MetricLabels& labels,
                           const char* help) {
  return {id, name, MetricType::kGauge, scope, unit, help, labels, {}};
}
constexpr MetricSpec Histogram(Metric id, const char* name, MetricScope scope, const char* unit,
                               const MetricLabels& labels, std::span<const double> buckets, const char* help) {
  return {id, name, MetricType::kHistogram, scope, unit, help, labels, buckets};
}

// "Trajectory" is one completion; a group is handed in, refused and trained as a whole, and counts as its G.
constexpr MetricSpec kTable[] = {
    Gauge(kBuildInfo, "tactus_build_info", P, "", kNone,
          "Constant 1; its labels name the running build, its libraries and the run."),
    Gauge(kTlsCertificateExpiry, "tactus_tls_certificate_expiry_timestamp_seconds", P, "timestamp_seconds",
          Closed("certificate", kCertificate),
          "When the certificate file now on disk expires, in Unix time; 0 = there is none (plaintext)."),
    Counter(kNonfiniteValues, "tactus_nonfinite_values_total", P, "", Closed("where", kNonfiniteWhere),
            "NaN or infinity: optimizer steps whose loss had one or whose gradient was not used, groups refused for a "
            "reward, a log-prob "
            "or what else was measured of a token, and updates of metrics that were dropped."),
    Counter(kMetricUpdatesRejected, "tactus_metric_updates_rejected_total", P, "", kNone,
            "Updates dropped because the series does not exist or a counter would fall: a bug in Tactus."),

    Gauge(kLearnerStep, "tactus_learner_step", R, "", kNone, "Learner steps finished in this run."),
    Gauge(kLearnerStepsPlanned, "tactus_learner_steps_planned", L, "", kNone, "learner.steps: the run ends there."),
    Counter(kLearnerSteps, "tactus_learner_steps_total", L, "", Closed("outcome", kOutcome),
            "Optimizer steps by outcome; one whose gradient is not finite or too long is skipped. A learner step has "
            "algorithm.updates_per_batch of them."),
    Histogram(kLearnerStepDuration, "tactus_learner_step_duration_seconds", L, "seconds", kNone, kStepSeconds,
              "Time of one learner step, waiting included."),
    Counter(kLearnerPhaseSeconds, "tactus_learner_phase_seconds_total", R, "seconds", RankAnd("phase", kPhase),
            "Time a learner rank has spent in each phase. Waiting counts while it lasts, the others when a step ends; "
            "ranks above 0 wait for rank 0's order, and never publish or checkpoint."),
    Gauge(kLearnerLastStepTimestamp, "tactus_learner_last_step_timestamp_seconds", L, "timestamp_seconds", kNone,
          "When the last step finished, in Unix time; 0 = none in this process yet."),
    Counter(kLearnerTokens, "tactus_learner_tokens_total", L, "tokens", Closed("kind", kTokenKind),
            "Tokens computed and trained on, over all ranks. Packing has no padding; completions without advantage "
            "are not computed."),
    Counter(kLearnerModelFlops, "tactus_learner_model_flops_total", L, "flops", kNone,
            "Model FLOPs of training: 6 x parameters x tokens, attention and recomputation left out. Its rate over "
            "the hardware's peak is the MFU, which Tactus cannot know."),
    Counter(kCollectiveAborts, "tactus_collective_aborts_total", R, "", kNone,
            "Collective operations that failed or timed out. The rank exits then, so restarts show it too."),

    Counter(kGroups, "tactus_groups_total", L, "", EnvAnd("kind", kGroupKind),
            "Groups trained on, by whether all, none or some of their completions are correct."),
    Counter(
        kSourceGroups, "tactus_source_groups_total", L, "",
        {.name = "kind", .values = kGroupKind, .env = true, .rank = false, .open = "source"},
        "Groups trained on of each of task.sources, by whether all, none or some of their completions are correct."),
    Gauge(kSourceReward, "tactus_source_reward_mean", L, "",
          {.name = "component", .values = kRewardPart, .env = true, .rank = false, .open = "source"},
          "Mean reward of each of task.sources in the last batch that had some of it, and the share of right answers."),
    Counter(
        kVerdicts, "tactus_trajectory_verdicts_total", L, "", EnvAnd("verdict", kVerdict),
        "Completions trained on by the verifier's verdict; error = the tokens are no text. Verifiers are bounded by "
        "construction and have no timeout."),
    Counter(
        kRewardDisagreements, "tactus_reward_disagreements_total", L, "", kNone,
        "Completions trained on whose reward is not what the learner's own verifier gives them: an actor of another "
        "build, or one that lies."),
    Histogram(kCompletionTokens, "tactus_completion_tokens", L, "tokens", kEnv, kTokenCounts,
              "Length of the completions trained on."),
    Counter(kCompletionsTruncated, "tactus_completions_truncated_total", L, "", kEnv,
            "Completions trained on that were cut at rollout.max_completion_tokens."),

    Counter(kRhythmAudited, "tactus_rhythm_completions_total", L, "", kNone,
            "Completions trained on that carried their raw attention metrics."),

    Counter(kTrajectoriesReceived, "tactus_trajectories_received_total", L, "", kNone,
            "Trajectories handed in by actors; equals accepted + rejected."),
    Counter(kTrajectoriesAccepted, "tactus_trajectories_accepted_total", L, "", kEnv,
            "Trajectories made durable and acknowledged; equals trained + dropped + the change of the queue's depth."),
    Counter(kTrajectoriesRejected, "tactus_trajectories_rejected_total", L, "", Closed("reason", kRejectReason),
            "Trajectories refused. Duplicates are acknowledged again and change nothing; expired ones came after their "
            "lease. Peers of another run are refused before: tactus_streams_refused_total."),
    Counter(kTrajectoriesTrained, "tactus_trajectories_trained_total", L, "", kEnv, "Trajectories trained on."),
    Counter(
        kTrajectoriesDropped, "tactus_trajectories_dropped_total", L, "", Closed("reason", kDropReason),
        "Accepted trajectories that were not trained: more than rollout.max_staleness_steps old, of a history that a "
        "restore left, or replaced as their group has no signal (rollout.max_replaced_groups)."),
    Histogram(kTrajectoryStaleness, "tactus_trajectory_staleness_versions", L, "versions", kNone, kStalenessVersions,
              "Versions between the first token's weights and training, of each trajectory trained on."),
    Gauge(kQueueDepth, "tactus_trajectory_queue_depth", L, "", kNone,
          "Trajectories accepted and not yet trained, those of the step under way included."),
    Gauge(kQueueCapacity, "tactus_trajectory_queue_capacity", L, "", kNone,
          "Most trajectories the queue may hold: (S + 1) * P * G."),
    Gauge(kQueueBytes, "tactus_trajectory_queue_bytes", L, "bytes", kNone,
          "Memory of trajectories that wait: received and not yet judged, or ready to be trained."),
    Gauge(kPrompts, "tactus_prompts", L, "", Closed("state", kPromptState),
          "Prompts in the ledger: for an actor, with one, answered, or in the step under way."),
    Counter(kPromptsDropped, "tactus_prompts_dropped_total", L, "", kNone,
            "Prompts given up after rollout.max_attempts leases without an answer: their actors died or stood still."),
    Counter(kLeases, "tactus_leases_total", L, "", Closed("event", kLeaseEvent),
            "Leases of prompts: granted to actors, expired, or returned by actors that were lost or restarted."),
    Histogram(kIngestAckDuration, "tactus_ingest_ack_duration_seconds", L, "seconds", kNone, kAckSeconds,
              "From a group's last byte to its acknowledgement, which follows its way to disk."),
    Gauge(kActorsConnected, "tactus_actors_connected", L, "", kNone, "Actors with an open stream."),
    Counter(kStreamsRefused, "tactus_streams_refused_total", L, "", Closed("reason", kStreamRefusal),
            "Streams of actors that were ended: for another run, configuration, protocol or a certificate of another "
            "role, for anything else against the rules, or because more actors came than are served."),
    Counter(kEvalRounds, "tactus_eval_rounds_total", L, "", Closed("outcome", kEvalOutcome),
            "Evaluations by the actors (eval.by): measured, or given up since answers did not come in time."),
    Counter(kEvalAnswers, "tactus_eval_answers_total", L, "", Closed("outcome", kEvalAnswer),
            "Groups of answers to held-out prompts: accepted, late since their lease had ended, or refused."),
    Gauge(
        kEvalSetScore, "tactus_eval_set_score_ratio", L, "ratio",
        {.name = "score", .values = kEvalScore, .env = true, .rank = false, .open = "set"},
        "Newest score of a held-out set, measured by the actors (eval.by), with the ends of its 95 % interval. pass_1 "
        "is the mean over the answers to a prompt (avg@k), pass_k that one of k is right."),

    Gauge(kWeightVersion, "tactus_weight_version", P, "", kNone,
          "Step of the weights in use; see tactus_learner_step."),
    Histogram(
        kWeightPublishDuration, "tactus_weight_publish_duration_seconds", L, "seconds", kNone, kTransferSeconds,
        "Time to make a new version available to actors, from the trained weights on; training goes on meanwhile."),
    Counter(kWeightVersions, "tactus_weight_versions_total", L, "versions", Closed("form", kWeightForm),
            "Versions published, by what an actor with the version before is sent: what changed, or all weights, "
            "where a delta would not pay."),
    Gauge(kWeightSetBytes, "tactus_weight_set_bytes", L, "bytes", Closed("form", kWeightForm),
          "Size of the newest version: of all its weights, and of what changed since the one before; 0 = no delta."),
    Histogram(kWeightLoadDuration, "tactus_weight_load_duration_seconds", A, "seconds", kNone, kTransferSeconds,
              "Time to fetch and check a new version."),
    Counter(kWeightTransferBytes, "tactus_weight_transfer_bytes_total", P, "bytes", kNone,
            "Bytes of weights sent to actors, or by an actor received; 0 on learner ranks above 0."),
    Counter(kWeightRelayBytes, "tactus_weight_relay_bytes_total", A, "bytes", Closed("way", kRelayWay),
            "Bytes of weights between actors: received from another one, a part of tactus_weight_transfer_bytes_total, "
            "or sent to others; 0 without service.relay_fan_out."),

    Histogram(
        kCheckpointDuration, "tactus_checkpoint_duration_seconds", L, "seconds", Closed("phase", kCheckpointPhase),
        kTransferSeconds,
        "Time of a checkpoint's phases: the snapshot of ledger, masters and moments, which the training waits for; "
        "the writing, hashing, syncing and renaming beside it, from the same start; deleting what the submission "
        "log need no longer hold."),
    Gauge(kCheckpointLastSuccess, "tactus_checkpoint_last_success_timestamp_seconds", L, "timestamp_seconds", kNone,
          "When the last complete checkpoint was written, in Unix time; 0 = none in this process yet."),
    Counter(kCheckpoints, "tactus_checkpoints_total", L, "", Closed("outcome", kCheckpointOutcome),
            "Checkpoints by outcome: written here or not, and with checkpoint.upload copied there, each failed try "
            "counted."),
    Gauge(kCheckpointLastUpload, "tactus_checkpoint_last_upload_timestamp_seconds", L, "timestamp_seconds", kNone,
          "When a checkpoint was last uploaded, in Unix time; 0 = none by this process, as without checkpoint.upload."),

    Counter(kActorTokens, "tactus_actor_tokens_total", A, "tokens", Closed("kind", kSampledKind),
            "Tokens of prompts taken, of completions finished, and of continuations of these, which are sampled for "
            "credit by VINE and never trained on."),
    Counter(kActorTrajectories, "tactus_actor_trajectories_total", A, "", Closed("outcome", kSubmitOutcome),
            "Trajectories by how they ended: acknowledged, acknowledged as answers to held-out prompts, beyond their "
            "lease, refused by the learner, or without a reward from the environment for as long as a lease's time."),
    Counter(kActorBusySeconds, "tactus_actor_busy_seconds_total", A, "seconds", kNone, "Time in engine steps."),
    Counter(kActorBlockedSeconds, "tactus_actor_blocked_seconds_total", A, "seconds", Closed("reason", kBlockedReason),
            "Time the engine had nothing to do: the learner has no prompt to give (backpressure), newer weights are "
            "needed, finished groups are being scored and handed in, or the learner is out of reach."),
    Gauge(kActorRequests, "tactus_actor_requests", A, "", Closed("state", kRequestState),
          "Completions being decoded, and leased ones that wait for it."),
    Gauge(kActorKvCacheUsage, "tactus_actor_kv_cache_usage_ratio", A, "ratio", kNone,
          "Share of key/value pages in use."),
    Counter(kActorPreemptions, "tactus_actor_preemptions_total", A, "", kNone,
            "Completions put back for want of key/value pages; what they had is computed again."),
    Counter(
        kEnvironmentCalls, "tactus_environment_calls_total", A, "", Closed("outcome", kCallOutcome),
        "Calls of the environment's Score, each of one group, repetitions included: ok, nobody reached, no answer in "
        "time, an answer that is too large or cannot be used, or an error that the server reports."),
    Histogram(kEnvironmentCallDuration, "tactus_environment_call_duration_seconds", A, "seconds", kNone,
              kTransferSeconds, "Time of such a call, whatever its outcome."),
};

static_assert(std::size(kTable) == static_cast<size_t>(Metric::kCount));

// Of a gauge with a label: what each of its values is. A reason to be absent stands once if all series share it.
std::string HelpOf(const std::vector<const StepField*>& fields) {
  const StepField& first = *fields.front();
  const auto reason = [](const StepField& field) { return absl::NullSafeStringView(field.absent); };
  const bool shared = std::ranges::all_of(fields, [&](const StepField* f) { return reason(*f) == reason(first); });
  std::string help = first.series.label == nullptr ? "" : absl::StrCat("By ", first.series.label, ": ");
  for (const StepField* field : fields) {
    if (field != &first) help += "; ";
    if (field->series.label != nullptr) absl::StrAppend(&help, field->series.value, " = ");
    help += field->help;
    if (!shared && field->absent != nullptr) absl::StrAppend(&help, " (absent if ", field->absent, ")");
  }
  help[0] = absl::ascii_toupper(help[0]);
  if (shared && first.absent != nullptr) absl::StrAppend(&help, ". Absent if ", first.absent);
  return help + ".";
}

// The gauges of StepFields(), and what they point to.
class StepGauges {
 public:
  StepGauges() {
    for (const StepField& field : StepFields()) {
      if (field.series.metric != nullptr) FieldsOf(field.series.metric).push_back(&field);
    }
    for (const std::vector<const StepField*>& fields : fields_) specs_.push_back(SpecOf(fields));
  }
  std::span<const MetricSpec> specs() const { return specs_; }

 private:
  std::vector<const StepField*>& FieldsOf(absl::string_view metric) {
    const auto it = std::ranges::find(fields_, metric, [](const std::vector<const StepField*>& fields) {
      return absl::string_view(fields.front()->series.metric);
    });
    return it == fields_.end() ? fields_.emplace_back() : *it;
  }

  MetricSpec SpecOf(const std::vector<const StepField*>& fields) {
    const StepSeries& series = fields.front()->series;
    MetricSpec spec = {Metric::kCount,
                       series.metric,
                       MetricType::kGauge,
                       MetricScope::kLearner,
                       "",
                       helps_.emplace_back(HelpOf(fields)).c_str(),
                       {},
                       {}};
    std::vector<const char*>& values = values_.emplace_back();
    for (const StepField* field : fields) {
      const char* unit = UnitName(field->unit);
      if (*unit != '\0' && absl::EndsWith(spec.name, absl::StrCat("_", unit))) spec.unit = unit;
      if (spec.title == nullptr) spec.title = field->chart;
      if (series.label != nullptr) values.push_back(field->series.value);
    }
    spec.labels = {.name = series.label, .values = values, .env = series.env};
    return spec;
  }

  std::vector<std::vector<const StepField*>> fields_;  // by gauge
  std::deque<std::vector<const char*>> values_;
  std::deque<std::string> helps_;
  std::vector<MetricSpec> specs_;
};

}  // namespace

std::span<const MetricSpec> MetricTable() { return kTable; }

std::span<const MetricSpec> StepMetricTable() {
  static const StepGauges* const gauges = new StepGauges;
  return gauges->specs();
}

std::vector<MetricSpec> EveryMetric() {
  std::vector<MetricSpec> all(std::begin(kTable), std::end(kTable));
  all.insert(all.end(), StepMetricTable().begin(), StepMetricTable().end());
  return all;
}

bool Exposes(ProcessRole process, MetricScope scope) {
  switch (scope) {
    case MetricScope::kLearner:
      return process == ProcessRole::kLearner;
    case MetricScope::kEveryRank:
      return process != ProcessRole::kActor;
    case MetricScope::kActor:
      return process == ProcessRole::kActor;
    case MetricScope::kEveryProcess:
      return true;
  }
  return false;
}

std::vector<std::string> LabelNames(const MetricSpec& spec) {
  if (spec.id == kBuildInfo) return {"version", "commit", "torch", "cuda", "run"};
  std::vector<std::string> names;
  if (spec.labels.env) names.emplace_back("env");
  if (spec.labels.rank) names.emplace_back("rank");
  if (spec.labels.open != nullptr) names.emplace_back(spec.labels.open);
  if (spec.labels.name != nullptr) names.emplace_back(spec.labels.name);
  return names;
}

}  // namespace tactus
