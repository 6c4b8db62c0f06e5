// One curve of the report as an SVG figure. Pure functions, thread-safe.
#pragma once

#include <string>
#include <vector>

#include "common/metrics/step_record.h"

namespace tactus {

struct ChartSeries {
  const char* label;
  double StepRecord::*member;
};

struct ChartSpec {
  const char* title;
  const char* help;                 // what it shows, with the unit
  std::vector<ChartSeries> series;  // at most two
  bool trend = false;               // draw the raw first series faint and its running mean strong
  bool sparse = false;              // few values: dots, joined over the steps between
};

// A <figure>: the SVG, a readout that the page's script fills, and a sentence for screen readers. Long runs are drawn
// as at most 400 averaged points. Values that are not finite are gaps.
std::string ChartHtml(const ChartSpec& spec, const std::vector<StepRecord>& steps);

}  // namespace tactus
