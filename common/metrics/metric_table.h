// Every metric that Tactus exposes: name, kind, unit, labels with their closed value sets, buckets, help.
//
// What a process counts and shows while it works stands in one table here; the gauges of a learner step are those of
// StepFields() (common/metrics/step_record.h). Names follow Prometheus' practice: prefix tactus_, base units last,
// _total on counters, ratios from 0 to 1. docs/metrics.md and docs/metrics.json are written from both; dashboards are
// made from the latter, and rules are checked against it. Thread-safe: constants.
#pragma once

#include <span>
#include <string>
#include <vector>

namespace tactus {

enum class Metric {
  // The process.
  kBuildInfo,
  kTlsCertificateExpiry,
  kNonfiniteValues,
  kMetricUpdatesRejected,
  // The learner's steps.
  kLearnerStep,
  kLearnerStepsPlanned,
  kLearnerSteps,
  kLearnerStepDuration,
  kLearnerPhaseSeconds,
  kLearnerLastStepTimestamp,
  kLearnerTokens,
  kLearnerModelFlops,
  kCollectiveAborts,
  // Completions.
  kGroups,
  kSourceGroups,
  kSourceReward,
  kVerdicts,
  kRewardDisagreements,
  kCompletionTokens,
  kCompletionsTruncated,
  kRhythmAudited,
  // Trajectories on their way from actors to the learner.
  kTrajectoriesReceived,
  kTrajectoriesAccepted,
  kTrajectoriesRejected,
  kTrajectoriesTrained,
  kTrajectoriesDropped,
  kTrajectoryStaleness,
  kQueueDepth,
  kQueueCapacity,
  kQueueBytes,
  kPrompts,
  kPromptsDropped,
  kLeases,
  kIngestAckDuration,
  kActorsConnected,
  kStreamsRefused,
  kEvalRounds,
  kEvalAnswers,
  kEvalSetScore,
  // Weights.
  kWeightVersion,
  kWeightPublishDuration,
  kWeightVersions,
  kWeightSetBytes,
  kWeightLoadDuration,
  kWeightTransferBytes,
  kWeightRelayBytes,
  // Checkpoints.
  kCheckpointDuration,
  kCheckpointLastSuccess,
  kCheckpoints,
  kCheckpointLastUpload,
  // The actor.
  kActorTokens,
  kActorTrajectories,
  kActorBusySeconds,
  kActorBlockedSeconds,
  kActorRequests,
  kActorKvCacheUsage,
  kActorPreemptions,
  kEnvironmentCalls,
  kEnvironmentCallDuration,
  kCount,  // how many; and the id of a step's gauges, which are set by MetricSet::SetStep
};

enum class MetricType { kCounter, kGauge, kHistogram };

// What a process is.
enum class ProcessRole { kLearner, kFollower, kActor };  // learner rank 0, another learner rank, an actor

// Which processes expose a metric.
enum class MetricScope { kLearner, kEveryRank, kActor, kEveryProcess };

// Labels whose one value is known when the process starts, and one label with a closed set of values.
struct MetricLabels {
  const char* name = nullptr;  // of the closed one; null = none
  std::span<const char* const> values;
  bool env = false;            // label `env` = the task's name
  bool rank = false;           // label `rank` = this process's
  const char* open = nullptr;  // a label whose values the configuration names: a series exists once it is set
};

struct MetricSpec {
  Metric id;
  const char* name;
  MetricType type;
  MetricScope scope;
  const char* unit;  // the name ends with it, before _total; "" = a plain number
  const char* help;
  MetricLabels labels;
  std::span<const double> buckets;  // of a histogram
  const char* title = nullptr;      // of a chart that shows it; null: none is given
};

// Ordered by id, one entry for each. All their series exist from the start, at 0, so that rate() sees the first event,
// but those with an open label, which begin with AddOf and SetOf.
std::span<const MetricSpec> MetricTable();
// The gauges of a learner step, in the order of their rows. A series exists from the first step that measured it, and
// keeps that value in steps that do not.
std::span<const MetricSpec> StepMetricTable();
// Both.
std::vector<MetricSpec> EveryMetric();

bool Exposes(ProcessRole process, MetricScope scope);

// The names of all of a metric's labels, those of tactus_build_info included.
std::vector<std::string> LabelNames(const MetricSpec& spec);

}  // namespace tactus
