// Holds an exposition text, as a scrape gives it, against the table of metrics; and the table against the naming rules.
// Each function returns the problems, one sentence each; none = good.
#pragma once

#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "common/metrics/metric_table.h"

namespace tactus {

// One metric family of an exposition in Prometheus' text format.
struct ExposedFamily {
  std::string type;
  std::string help;
  std::vector<std::map<std::string, std::string>> series;  // labels; of a histogram those of its _count series
  std::vector<double> values;                              // of the series; of a histogram its _count
  std::set<std::string> bounds;                            // of a histogram's buckets, as written
};

std::map<std::string, ExposedFamily> ParseExposition(const std::string& text);

// Names, units, types and labels of the table.
std::vector<std::string> TableProblems(std::span<const MetricSpec> table);

// Exactly the families that `process` exposes by the table (and process_*), each with its type, help, labels, every
// closed value and its buckets.
std::vector<std::string> ExpositionProblems(const std::string& text, ProcessRole process,
                                            std::span<const MetricSpec> table);

}  // namespace tactus
