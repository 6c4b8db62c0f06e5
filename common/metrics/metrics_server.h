// Serves the plain-text endpoint of a process until destroyed:
//
//   /metrics   the set's metrics and process_*, in Prometheus' text format
//   /healthz   200 as long as the process answers at all
//   /readyz    200, or 503 with the one-line reason why the process cannot do its work now
//
// GET and HEAD only; anything else is 404 or 405. A few threads serve it apart from all others, a request has a few KiB
// and a few seconds, and neither a body nor a second request on a connection is read: whoever misuses the port can slow
// down scrapes and probes, but nothing else. There is no TLS and no authentication: bind it to an address that only the
// monitoring reaches.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/metrics/metric_set.h"
#include "common/metrics/readiness.h"

namespace tactus {

class MetricsServer {
 public:
  // Port 0 takes a free one. `metrics` and `readiness` must outlive the server. Unavailable when the address cannot be
  // bound, naming it.
  static absl::StatusOr<std::unique_ptr<MetricsServer>> Start(const std::string& listen, const MetricSet* metrics,
                                                              const Readiness* readiness);
  ~MetricsServer();
  MetricsServer(const MetricsServer&) = delete;
  MetricsServer& operator=(const MetricsServer&) = delete;

  // "host:port" as bound.
  const std::string& address() const { return address_; }

 private:
  class Impl;
  MetricsServer(std::unique_ptr<Impl> impl, std::string address);
  const std::unique_ptr<Impl> impl_;
  const std::string address_;
};

}  // namespace tactus
