// A page that shows the panels of `tactus top` in a browser and follows them: served by the process itself, for one
// person on one machine. Grafana is for everything else.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "common/base/http_server.h"
#include "tools/top/terminal_view.h"

namespace tactus::top {

// The log as the page reads it: {"title","verdict","time_s": the newest frame's,"times":[Unix seconds of each frame],
// "panels":[{"id","group","title","by","query": as PromQL,"unit": "ratio" or what follows a number,
// "values":{label:{"text","value":number|null}},"absent": why there is none, or "",
// "trend":[number|null], a place for each of the times, empty where the panel has labels}]}.
std::string FramesJson(const FrameLog& log, const std::string& title);

// Serves / and /frames.json until destroyed, within the bounds of common/base/http_server.h.
class LivePage {
 public:
  // InvalidArgument: `listen` is no address; Unavailable: it cannot be bound; each names it. Port 0 takes a free one.
  // `frames` gives the JSON and is called from the server's thread.
  static absl::StatusOr<std::unique_ptr<LivePage>> Start(const std::string& listen,
                                                         std::function<std::string()> frames);
  // HOST:PORT with the port as bound, for a browser on this machine.
  std::string address() const { return server_->address().Dialable().Text(); }

 private:
  explicit LivePage(std::unique_ptr<HttpServer> server) : server_(std::move(server)) {}
  const std::unique_ptr<HttpServer> server_;
};

}  // namespace tactus::top
