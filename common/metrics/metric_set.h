// The process's live metrics; MetricsServer shows them to Prometheus.
//
//   MetricSet metrics({.role = ProcessRole::kLearner, .task = "countdown", .run_id = "quickstart"});
//   metrics.Add(Metric::kLearnerPhaseSeconds, 1.5, "forward");
//
// MetricSet is thread-safe and never blocks for long: an update is one lookup in a small fixed table and one atomic.
// A metric that this process does not expose, another kind of update, an unknown label value, or a negative addition is
// our own bug: dropped, and counted in tactus_metric_updates_rejected_total.
#pragma once

#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "common/metrics/metric_table.h"
#include "common/metrics/step_record.h"

namespace tactus {

class MetricSet {
 public:
  struct Options {
    ProcessRole role = ProcessRole::kLearner;
    int rank = 0;        // value of the label rank
    std::string task;    // … of env
    std::string run_id;  // shown in tactus_build_info
  };
  explicit MetricSet(const Options& options);
  ~MetricSet();
  MetricSet(const MetricSet&) = delete;
  MetricSet& operator=(const MetricSet&) = delete;

  // Gauge, counter, histogram. `label` is one of the spec's values, or empty if it has none. A value that is not finite
  // is dropped and counted in tactus_nonfinite_values_total: one NaN would poison the series for the life of the
  // process.
  void Set(Metric metric, double value, absl::string_view label = "");
  void Add(Metric metric, double value, absl::string_view label = "");
  void Observe(Metric metric, double value, absl::string_view label = "");
  // Of a gauge or counter with an open label, the series of that label's value `open`.
  void SetOf(Metric metric, const std::string& open, double value, absl::string_view label);
  void AddOf(Metric metric, const std::string& open, double value, absl::string_view label);
  // Every gauge of the step that was measured. One that is not measured keeps its last value; before that it has no
  // sample. For learner rank 0.
  void SetStep(const StepRecord& record);

  // The exposition text, as a scrape gives it: these and process_*.
  std::string Text() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tactus
