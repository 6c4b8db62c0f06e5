// A page that shows the panels of `tactus top` in a browser and follows them: served by the process itself, for one
// person on one machine. Grafana is for everything else.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "tools/top/terminal_view.h"

namespace tactus::top {

// The log as the page reads it: {"title","verdict","time_s": the newest frame's,"times":[Unix seconds of each frame],
// "panels":[{"id","group","title","by","query": as PromQL,"unit": "ratio" or what follows a number,
// "values":{label:{"text","value":number|null}},"absent": why there is none, or "",
// "trend":[number|null], a place for each of the times, empty where the panel has labels}]}.
std::string FramesJson(const FrameLog& log, const std::string& title);

// Serves / and /frames.json on threads of its own until destroyed. At most 8 connections at once are answered; requests
// larger than 8 KiB are refused.
class LivePage {
 public:
  // Unavailable: the address cannot be bound, naming it. Port 0 takes a free one. `frames` gives the JSON and is called
  // from any thread.
  static absl::StatusOr<std::unique_ptr<LivePage>> Start(const std::string& listen,
                                                         std::function<std::string()> frames);
  ~LivePage();
  const std::string& address() const { return address_; }  // HOST:PORT as bound

 private:
  struct Impl;
  LivePage(std::unique_ptr<Impl> impl, std::string address);
  std::unique_ptr<Impl> impl_;
  std::string address_;
};

}  // namespace tactus::top
