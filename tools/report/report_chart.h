// One chart of a page: its numbers, which web/chart.js draws. Pure functions, thread-safe.
#pragma once

#include <string>
#include <vector>

#include "common/metrics/step_record.h"

namespace tactus {

// What is drawn. Numbers that are not finite are null, which is drawn as a gap.
struct DrawnSeries {
  std::string label;
  std::string absent;                       // why a number may be missing; "" = nothing is said
  std::vector<double> y;                    // [x]
  std::vector<double> low = {}, high = {};  // [x] a band around y; empty: none
};

struct DrawnChart {
  std::string title = {}, help = {}, unit = {};  // unit: of every series; "" = none, "ratio" = shown in percent
  std::string axis = "step";
  std::vector<double> x = {};
  std::vector<DrawnSeries> series = {};  // at most two
  bool trend = false;                    // draw the raw first series faint and its running mean strong
  bool sparse = false;                   // few values: dots, joined over the places between
};

// A <figure> with the numbers for the script, and the first and the last of each series for who runs none.
std::string FigureHtml(const DrawnChart& chart);

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

// The chart over the steps. Of a long run neighbours are averaged to at most 400 points.
std::string ChartHtml(const ChartSpec& spec, const std::vector<StepRecord>& steps);

}  // namespace tactus
