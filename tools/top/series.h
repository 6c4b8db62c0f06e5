// Samples of metrics as a process exposes them, and panels computed from several of them over time: what Prometheus
// would answer, for one job on one machine without a Prometheus. Not thread-safe.
#pragma once

#include <deque>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tools/top/panels.h"

namespace tactus::top {

struct Sample {
  std::string metric;
  std::map<std::string, std::string> labels;
  double value = 0;
};

// The Prometheus text format, as /metrics gives it. InvalidArgument names the line. At most 100,000 samples.
absl::StatusOr<std::vector<Sample>> ParseExposition(absl::string_view text);

// A panel's values by the panel's label; one value under "" for a panel without. No entry: no data.
using PanelValues = std::map<std::string, double>;

class SeriesWindow {
 public:
  explicit SeriesWindow(double window_s) : window_s_(window_s) {}
  // What all targets said at `time_s`. Older samples than the window are forgotten, but for the two newest.
  void Add(double time_s, std::vector<Sample> samples);
  // Rates need two samples. A counter that fell was restarted: what it counts from then on is added.
  PanelValues Evaluate(const Panel& panel) const;

 private:
  struct Snapshot {
    double time_s = 0;
    std::vector<Sample> samples;
  };
  // A series' increase over the snapshots that hold it, and the seconds between the first and the last of these.
  struct Increase {
    std::map<std::string, std::string> labels;
    double amount = 0, seconds = 0;
  };
  std::vector<Increase> Increases(absl::string_view metric, const Term& term) const;
  PanelValues Evaluate(const Term& term, absl::string_view by) const;
  PanelValues Rates(const Term& term, absl::string_view by) const;
  PanelValues Quantiles(const Term& term, absl::string_view by) const;
  PanelValues Newest(const Term& term, absl::string_view by) const;

  double window_s_;
  std::deque<Snapshot> snapshots_;
};

}  // namespace tactus::top
