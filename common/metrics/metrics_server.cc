#include "common/metrics/metrics_server.h"

#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace tactus {
namespace {

HttpAnswer Probe(const std::string& wrong, const char* well) {
  if (wrong.empty()) return {.body = well};
  return {.status = 503, .body = absl::StrCat(wrong, "\n")};
}

HttpAnswer Answer(const std::string& path, const MetricSet& metrics, const Readiness& readiness) {
  if (path == "/metrics") return {.content_type = "text/plain; version=0.0.4; charset=utf-8", .body = metrics.Text()};
  if (path == "/healthz") return Probe(readiness.Hung(), "ok\n");
  if (path == "/readyz") return Probe(readiness.NotReady(), "ready\n");
  return {.status = 404, .body = "expected /metrics, /healthz or /readyz\n"};
}

}  // namespace

absl::StatusOr<std::unique_ptr<MetricsServer>> MetricsServer::Start(const std::string& listen, const MetricSet* metrics,
                                                                    const Readiness* readiness) {
  ASSIGN_OR_RETURN(const HostPort address, HostPort::Parse(listen, "the address of the metrics"));
  absl::StatusOr<std::unique_ptr<HttpServer>> server =
      HttpServer::Start(address, "", [=](const std::string& path) { return Answer(path, *metrics, *readiness); });
  if (!server.ok()) return absl::UnavailableError(absl::StrCat("metrics: ", server.status().message()));
  return absl::WrapUnique(new MetricsServer(*std::move(server)));
}

}  // namespace tactus
