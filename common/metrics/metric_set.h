// The process's live metrics, and the HTTP server Prometheus scrapes.
//
//   MetricSet metrics({.role = MetricRole::kLearner, .task = "countdown", .run_id = "quickstart"});
//   ASSIGN_OR_RETURN(auto server, MetricsServer::Start("127.0.0.1:0", &metrics));
//   metrics.Add(Metric::kLearnerPhaseSeconds, 1.5, "forward");
//
// MetricSet is thread-safe and never blocks for long: an update is one lookup in a small fixed table and one atomic.
// A metric of another role, or an unknown label value, is our own bug and is counted as rejected.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/metrics/metric_table.h"

namespace tactus {

class MetricSet {
 public:
  struct Options {
    MetricRole role = MetricRole::kLearner;
    std::string task;    // value of the label env
    std::string run_id;  // shown in tactus_build_info
  };
  explicit MetricSet(const Options& options);
  ~MetricSet();
  MetricSet(const MetricSet&) = delete;
  MetricSet& operator=(const MetricSet&) = delete;

  // Gauge, counter, histogram. A value that is not finite (or negative, for a counter) is dropped and counted: one NaN
  // would poison the series for the life of the process. `label` is one of the spec's values, or empty if it has none.
  void Set(Metric metric, double value, absl::string_view label = "");
  void Add(Metric metric, double value, absl::string_view label = "");
  void Observe(Metric metric, double value, absl::string_view label = "");

  // The exposition text, as a scrape would give it.
  std::string Text() const;

 private:
  friend class MetricsServer;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Serves /metrics until destroyed; also process_* (CPU, memory, files). The set must outlive it.
class MetricsServer {
 public:
  // Port 0 takes a free one. Unavailable when the address cannot be bound, naming it.
  static absl::StatusOr<std::unique_ptr<MetricsServer>> Start(const std::string& listen, MetricSet* metrics);
  ~MetricsServer();
  // "host:port" as bound.
  const std::string& address() const { return address_; }

 private:
  struct Impl;
  explicit MetricsServer(std::unique_ptr<Impl> impl, std::string address);
  std::unique_ptr<Impl> impl_;
  std::string address_;
};

}  // namespace tactus
