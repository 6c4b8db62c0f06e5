// Serves the plain-text endpoint of a process until destroyed:
//
//   /metrics   the set's metrics and process_*, in Prometheus' text format
//   /healthz   200, or 503 with a line when the process hangs and has to be started again
//   /readyz    200, or 503 with the one-line reason why the process cannot do its work now
//
// What a client may do and how much of it is common/base/http_server.h's: whoever misuses the port can slow down
// scrapes a little, but neither probes nor anything else. There is no TLS and no authentication: bind it to an address
// that only the monitoring reaches.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "common/base/http_server.h"
#include "common/metrics/metric_set.h"
#include "common/metrics/readiness.h"

namespace tactus {

class MetricsServer {
 public:
  // `listen`: HOST:PORT; port 0 takes a free one. `metrics` and `readiness` must outlive the server. InvalidArgument:
  // no address; Unavailable: it cannot be bound; each names it.
  static absl::StatusOr<std::unique_ptr<MetricsServer>> Start(const std::string& listen, const MetricSet* metrics,
                                                              const Readiness* readiness);

  // Where others on this machine reach it, with the port as bound.
  std::string address() const { return server_->address().Dialable().Text(); }

 private:
  explicit MetricsServer(std::unique_ptr<HttpServer> server) : server_(std::move(server)) {}
  const std::unique_ptr<HttpServer> server_;
};

}  // namespace tactus
