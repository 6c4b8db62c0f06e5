#include "tools/top/live_page.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "tools/report/html_page.h"
#include "tools/top/verdict.h"
#include "tools/top/web/live.css.h"
#include "tools/top/web/live.js.h"

namespace tactus::top {
namespace {

constexpr char kHeaders[] =
    "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src "
    "'self'\r\nX-Content-Type-Options: nosniff\r\n";

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

absl::StatusOr<std::unique_ptr<LivePage>> LivePage::Start(const std::string& listen,
                                                          std::function<std::string()> frames) {
  ASSIGN_OR_RETURN(const HostPort address, HostPort::Parse(listen, "--http"));
  absl::StatusOr<std::unique_ptr<HttpServer>> server =
      HttpServer::Start(address, kHeaders, [frames = std::move(frames)](const std::string& path) -> HttpAnswer {
        if (path == "/frames.json") return {.content_type = "application/json", .body = frames()};
        if (path != "/") return {.status = 404, .body = "expected / or /frames.json\n"};
        return {.content_type = "text/html; charset=utf-8",
                .body = HtmlPage("Tactus, live", "<span id=\"when\"></span>", kLiveCss, kBody, kLiveJs)};
      });
  if (!server.ok()) return absl::UnavailableError(absl::StrCat("--http: ", server.status().message()));
  return absl::WrapUnique(new LivePage(*std::move(server)));
}

}  // namespace tactus::top
