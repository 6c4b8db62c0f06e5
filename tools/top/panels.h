// What `tactus top` and its page show: one table of panels, each a query over Tactus' metrics. The same panel is asked
// of Prometheus as PromQL, or computed here from what the processes expose, so both views show the same thing. A panel
// of a learner step's number takes its unit, its series and why it may be absent from the number's row. Constants and
// pure functions; thread-safe.
#pragma once

#include <span>
#include <string>

#include "absl/strings/string_view.h"
#include "common/metrics/unit.h"

namespace tactus::top {

// One side of a panel's quotient. Only these forms, so that they can be computed without Prometheus.
struct Term {
  enum class Kind { kNone, kValue, kRate, kAge, kQuantile };
  enum class Fold { kSum, kMax, kMean };
  Kind kind = Kind::kNone;
  absl::string_view metric = "";
  absl::string_view label = "", value = "";  // only series with this label value; empty: all
  Fold fold = Fold::kSum;                    // over the series that are left (kSum for a rate)
  double quantile = 0;                       // kQuantile: of a histogram's increase
};

struct Panel {
  absl::string_view id;     // unique, [a-z_]+
  absl::string_view group;  // panels of a group stand together
  absl::string_view title;
  Unit unit = Unit::kNumber;
  Term over;
  Term under = {};            // kNone: the panel is `over` alone
  absl::string_view by = "";  // one value for each value of this label; empty: one value
  double scale = 1;
  absl::string_view absent = "";  // why there may be no value; empty: nothing of the kind has happened yet
};

std::span<const Panel> Panels();
const Panel* FindPanel(absl::string_view id);

// The panel as PromQL over the series of `run` (empty: any), rates over `window_s` seconds.
std::string PromQl(const Panel& panel, absl::string_view run, int window_s);

}  // namespace tactus::top
