// Every metric that Tactus exposes, in one table: name, kind, unit, labels with their closed value sets, buckets, help.
//
// Names follow Prometheus' practice: prefix tactus_, base units last, _total on counters, ratios from 0 to 1. It is the
// only source: docs/metrics.md and docs/metrics.json are written from it, and dashboards and rules are checked against
// the latter. Thread-safe: constants.
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
  // What they do to the policy.
  kLoss,
  kGradientNorm,
  kLearningRate,
  kPolicyEntropy,
  kPolicyKl,
  kSamplerMismatchKl,
  kSamplerMismatchLogprob,
  kImportanceWeight,
  kImportanceWeightCapped,
  kClipRatio,
  kAdvantage,
  // Rewards and completions.
  kRewardMean,
  kRewardStddev,
  kGroups,
  kVerdicts,
  kEvalPassRatio,
  kCompletionTokens,
  kCompletionsTruncated,
  // Credit and rhythm.
  kCreditMean,
  kCreditAmplified,
  kCreditOverlap,
  kCreditLag,
  kRhythmAudited,
  kRhythmWaad,
  kRhythmFai,
  kRhythmPeakCorrelation,
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
  kLeases,
  kIngestAckDuration,
  kActorsConnected,
  kStreamsRefused,
  // Weights.
  kWeightVersion,
  kWeightPublishDuration,
  kWeightLoadDuration,
  kWeightTransferBytes,
  // Checkpoints.
  kCheckpointDuration,
  kCheckpointLastSuccess,
  kCheckpoints,
  // The actor.
  kActorTokens,
  kActorTrajectories,
  kActorBusySeconds,
  kActorBlockedSeconds,
  kActorRequests,
  kActorKvCacheUsage,
  kActorPreemptions,
  kCount,
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
  bool env = false;   // label `env` = the task's name
  bool rank = false;  // label `rank` = this process's
};

struct MetricSpec {
  Metric id;
  const char* name;
  MetricType type;
  MetricScope scope;
  const char* unit;  // the name ends with it, before _total; "" = a plain number
  const char* help;
  // All series exist from the start, at 0, so that rate() sees the first event.
  MetricLabels labels;
  std::span<const double> buckets;  // of a histogram
};

// Ordered by id, one entry for each.
std::span<const MetricSpec> MetricTable();

bool Exposes(ProcessRole process, MetricScope scope);

// The names of all of a metric's labels, those of tactus_build_info included.
std::vector<std::string> LabelNames(const MetricSpec& spec);

}  // namespace tactus
