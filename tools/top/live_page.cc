#include "tools/top/live_page.h"

#include <httplib.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "tools/report/html_page.h"
#include "tools/top/verdict.h"
#include "tools/top/web/live.css.h"
#include "tools/top/web/live.js.h"

namespace tactus::top {
namespace {

constexpr size_t kMaxRequestBytes = 8 << 10, kThreads = 8;
constexpr int kRequestTimeout_s = 5;

constexpr char kBody[] =
    "<p id=\"verdict\" role=\"status\">Waiting for the first answer.</p><div id=\"panels\"></div>\n<noscript>This page "
    "needs JavaScript; <code>tactus top</code> shows the same in a terminal.</noscript>";

// What the page writes after a number.
const char* UnitSuffix(Unit unit) {
  switch (unit) {
    case Unit::kNumber:
      return "";
    case Unit::kRatio:
      return "ratio";
    case Unit::kPerSecond:
      return "/s";
    case Unit::kPerHour:
      return "/h";
    case Unit::kSeconds:
      return "s";
    case Unit::kTokens:
      return "tokens";
    case Unit::kVersions:
      return "versions";
    case Unit::kNats:
      return "nats";
  }
  return "";
}

// Why a panel has no number now, or "".
absl::string_view Absent(const Panel& panel, const PanelValues& values) {
  if (values.empty()) return panel.absent.empty() ? "not reported so far" : panel.absent;
  const bool any = std::any_of(values.begin(), values.end(), [](const auto& one) { return std::isfinite(one.second); });
  return any ? "" : "not measured in this window";
}

nlohmann::json NumberOrNull(double value) { return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json(); }

}  // namespace

std::string FramesJson(const FrameLog& log, const std::string& title) {
  nlohmann::json panels = nlohmann::json::array(), times = nlohmann::json::array();
  const Frame newest = log.frames().empty() ? Frame() : log.newest();
  for (const Frame& frame : log.frames()) times.push_back(frame.time_s);
  for (const Panel& panel : Panels()) {
    nlohmann::json shown = nlohmann::json::object(), trend = nlohmann::json::array();
    const auto found = newest.panels.find(std::string(panel.id));
    const PanelValues values = found == newest.panels.end() ? PanelValues() : found->second;
    for (const auto& [label, value] : values)
      shown[label] = {{"text", ValueText(panel.unit, value)}, {"value", NumberOrNull(value)}};
    if (panel.by.empty()) {
      for (const double value : log.Trend(panel.id)) trend.push_back(NumberOrNull(value));
    }
    panels.push_back({{"id", panel.id},
                      {"group", panel.group},
                      {"title", panel.title},
                      {"by", panel.by},
                      {"query", PromQl(panel, "", 60)},
                      {"unit", UnitSuffix(panel.unit)},
                      {"values", shown},
                      {"absent", Absent(panel, values)},
                      {"trend", trend}});
  }
  return nlohmann::json{{"title", title},
                        {"verdict", log.frames().empty() ? "Waiting for the first answer." : Verdict(newest)},
                        {"time_s", newest.time_s},
                        {"times", times},
                        {"panels", panels}}
      .dump(-1, ' ', /*ensure_ascii=*/false, nlohmann::json::error_handler_t::replace);
}

struct LivePage::Impl {
  httplib::Server server;
  std::thread thread;
};

LivePage::LivePage(std::unique_ptr<Impl> impl, std::string address)
    : impl_(std::move(impl)), address_(std::move(address)) {}

LivePage::~LivePage() {
  impl_->server.stop();
  impl_->thread.join();
}

absl::StatusOr<std::unique_ptr<LivePage>> LivePage::Start(const std::string& listen,
                                                          std::function<std::string()> frames) {
  const size_t colon = listen.rfind(':');
  int port = -1;
  if (colon == std::string::npos || !absl::SimpleAtoi(listen.substr(colon + 1), &port) || port < 0 || port > 65535)
    return absl::InvalidArgumentError(absl::StrCat("--http is ", listen, ": expected HOST:PORT."));
  const std::string host = listen.substr(0, colon);
  auto impl = std::make_unique<Impl>();
  httplib::Server& server = impl->server;
  server.new_task_queue = [] { return new httplib::ThreadPool(kThreads); };  // httplib owns and deletes it
  // httplib's own choice lets two processes share a port.
  server.set_socket_options([](socket_t socket) {
    const int yes = 1;
    setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  });
  server.set_payload_max_length(kMaxRequestBytes);
  server.set_read_timeout(kRequestTimeout_s);
  server.set_write_timeout(kRequestTimeout_s);
  server.set_default_headers({{"Content-Security-Policy",
                               "default-src 'none'; style-src 'unsafe-inline'; script-src "
                               "'unsafe-inline'; connect-src 'self'"},
                              {"X-Content-Type-Options", "nosniff"},
                              {"Cache-Control", "no-store"}});
  server.Get("/", [](const httplib::Request&, httplib::Response& response) {
    response.set_content(HtmlPage("Tactus, live", "<span id=\"when\"></span>", kLiveCss, kBody, kLiveJs),
                         "text/html; charset=utf-8");
  });
  server.Get("/frames.json", [frames = std::move(frames)](const httplib::Request&, httplib::Response& response) {
    response.set_content(frames(), "application/json");
  });
  const int bound = port == 0 ? server.bind_to_any_port(host) : (server.bind_to_port(host, port) ? port : -1);
  if (bound < 0) return absl::UnavailableError(absl::StrCat("--http ", listen, " cannot be bound: is it in use?"));
  impl->thread = std::thread([&server] { server.listen_after_bind(); });
  while (!server.is_running()) std::this_thread::yield();  // stop() before that would be lost
  return std::unique_ptr<LivePage>(new LivePage(std::move(impl), absl::StrCat(host, ":", bound)));
}

}  // namespace tactus::top
