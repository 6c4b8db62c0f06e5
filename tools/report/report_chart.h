// One chart of the report: its numbers, which web/chart.js draws. Pure functions, thread-safe.
#pragma once

#include <string>
#include <vector>

#include "common/metrics/step_record.h"

namespace tactus {

struct ChartSeries {
  const char* label;
  double StepRecord::*member;
  const char* absent = "the records do not have it";  // why a step may have no such number
};

struct ChartSpec {
  const char* title;
  std::string help;                 // what it shows
  const char* unit;                 // of every series; "" = none, "ratio" = shown in percent
  std::vector<ChartSeries> series;  // at most two
  bool trend = false;               // draw the raw first series faint and its running mean strong
  bool sparse = false;              // few values: dots, joined over the steps between
};

// Whether any step has one of the chart's numbers.
bool HasValues(const ChartSpec& spec, const std::vector<StepRecord>& steps);

// A <figure> with the numbers for the script, and the first and the last of each series for who runs none. Of a long
// run neighbours are averaged to at most 400 points. A number that is not finite is null, which is drawn as a gap.
std::string ChartHtml(const ChartSpec& spec, const std::vector<StepRecord>& steps);

}  // namespace tactus
