#include "common/metrics/metrics_server.h"

#include <CivetServer.h>

#include <exception>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/metrics/thread_stack.h"

namespace tactus {
namespace {

// civetweb is what prometheus-cpp's own Exposer uses; that one serves /metrics alone.
std::vector<std::string> ServerOptions(const std::string& listen) {
  return {"listening_ports",    listen,  //
          "num_threads",        "6",     //
          "connection_queue",   "64",    // accepted and not yet served; more wait in the kernel
          "request_timeout_ms", "2000",  // to send a request, and to take an answer
          "max_request_size",   "4096",  // request line and headers
          "enable_keep_alive",  "no"};
}

void Answer(mg_connection* connection, const char* status, const std::string& body, bool with_body) {
  const std::string head =
      absl::StrCat("HTTP/1.1 ", status, "\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n",
                   "Cache-Control: no-store\r\nConnection: close\r\nContent-Length: ", body.size(), "\r\n\r\n");
  mg_write(connection, head.data(), head.size());
  if (with_body) mg_write(connection, body.data(), body.size());
}

}  // namespace

class MetricsServer::Impl : public CivetHandler {
 public:
  Impl(const std::string& listen, const MetricSet* metrics, const Readiness* readiness)
      : metrics_(metrics), readiness_(readiness), server_(ServerOptions(listen)) {
    // civetweb's handlers also get what stands below their path, hence the comparison in Get.
    server_.addHandler("/", this);
  }
  ~Impl() override { server_.close(); }

  bool handleGet(CivetServer*, mg_connection* connection) override { return Get(connection, true); }
  bool handleHead(CivetServer*, mg_connection* connection) override { return Get(connection, false); }
  bool handlePost(CivetServer*, mg_connection* connection) override { return Refuse(connection); }
  bool handlePut(CivetServer*, mg_connection* connection) override { return Refuse(connection); }
  bool handleDelete(CivetServer*, mg_connection* connection) override { return Refuse(connection); }
  bool handlePatch(CivetServer*, mg_connection* connection) override { return Refuse(connection); }
  bool handleOptions(CivetServer*, mg_connection* connection) override { return Refuse(connection); }

  std::vector<int> Ports() { return server_.getListeningPorts(); }

 private:
  bool Get(mg_connection* connection, bool with_body) {
    const absl::string_view path = mg_get_request_info(connection)->local_uri;
    if (path == "/metrics") {
      Answer(connection, "200 OK", metrics_->Text(), with_body);
    } else if (path == "/healthz") {
      Answer(connection, "200 OK", "ok\n", with_body);
    } else if (path == "/readyz") {
      const std::string reason = readiness_->NotReady();
      Answer(connection, reason.empty() ? "200 OK" : "503 Service Unavailable",
             absl::StrCat(reason.empty() ? "ready" : reason, "\n"), with_body);
    } else {
      Answer(connection, "404 Not Found", "expected /metrics, /healthz or /readyz\n", with_body);
    }
    return true;
  }
  static bool Refuse(mg_connection* connection) {
    Answer(connection, "405 Method Not Allowed", "expected GET or HEAD\n", true);
    return true;
  }

  const MetricSet* const metrics_;
  const Readiness* const readiness_;
  CivetServer server_;  // last: its threads use the others
};

MetricsServer::MetricsServer(std::unique_ptr<Impl> impl, std::string address)
    : impl_(std::move(impl)), address_(std::move(address)) {}
MetricsServer::~MetricsServer() = default;

absl::StatusOr<std::unique_ptr<MetricsServer>> MetricsServer::Start(const std::string& listen, const MetricSet* metrics,
                                                                    const Readiness* readiness) {
  if (!ThreadStacksHaveAFloor())
    return absl::InternalError("Metrics: another library sets the size of thread stacks in Tactus' place.");
  std::vector<int> ports;
  try {  // civetweb throws when the port is taken
    auto impl = std::make_unique<Impl>(listen, metrics, readiness);
    ports = impl->Ports();
    if (!ports.empty()) {
      std::string address = absl::StrCat(listen.substr(0, listen.rfind(':')), ":", ports.front());
      return std::unique_ptr<MetricsServer>(new MetricsServer(std::move(impl), std::move(address)));
    }
  } catch (const std::exception&) {  // told below: civetweb says no more than that it could not
  }
  return absl::UnavailableError(
      absl::StrCat("Metrics: cannot listen on ", listen, ": is the port taken or the address not this machine's?"));
}

}  // namespace tactus
