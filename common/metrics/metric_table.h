// Every metric that Tactus exposes, in one table: name, kind, help, closed label values, buckets.
//
// Names follow Prometheus' practice: prefix tactus_, base units, _total on counters, ratios from 0 to 1. Dashboards,
// rules and the document of metrics are checked against this table. Thread-safe: constants.
#pragma once

#include <span>

namespace tactus {

enum class Metric {
  kBuildInfo,
  kLearnerStep,
  kLearnerSteps,
  kLearnerStepDuration,
  kLearnerPhaseSeconds,
  kLearnerLastStepTimestamp,
  kLearnerTokens,
  kTrajectoriesTrained,
  kLoss,
  kGradientNorm,
  kLearningRate,
  kPolicyEntropy,
  kPolicyKl,
  kSamplerMismatchKl,
  kSamplerMismatchLogprob,
  kClipRatio,
  kCreditMean,
  kCreditAmplified,
  kCreditOverlap,
  kCreditLag,
  kRhythmAudited,
  kRhythmWaad,
  kRhythmFai,
  kRhythmPeakCorrelation,
  kRewardMean,
  kRewardStddev,
  kGroups,
  kVerdicts,
  kEvalPassRatio,
  kCompletionTokens,
  kCompletionsTruncated,
  kNonfiniteValues,
  kTrajectoriesReceived,
  kTrajectoriesAccepted,
  kTrajectoriesRejected,
  kTrajectoryStaleness,
  kQueueDepth,
  kQueueCapacity,
  kActorsConnected,
  kWeightVersion,
  kWeightPublishDuration,
  kWeightLoadDuration,
  kWeightTransferBytes,
  kCheckpointDuration,
  kCheckpointLastSuccess,
  kCheckpoints,
  kActorTokens,
  kActorBlockedSeconds,
  kActorRequests,
  kActorKvCacheUsage,
  kMetricUpdatesRejected,
  kCount,
};

enum class MetricType { kCounter, kGauge, kHistogram };

// Which process exposes it.
enum class MetricRole { kLearner, kActor, kBoth };

struct MetricSpec {
  Metric id;
  const char* name;
  MetricType type;
  MetricRole role;
  // Label `env` = the task's name, on what depends on the task.
  bool by_task;
  // One more label with its closed set of values; null = none. All series exist at 0 from the start, so that rate()
  // sees the first event.
  const char* label;
  std::span<const char* const> values;
  std::span<const double> buckets;  // of a histogram
  const char* help;
};

// Ordered by id, one entry for each.
std::span<const MetricSpec> MetricTable();

}  // namespace tactus
