// process_* metrics of this process, with the names every Prometheus client uses, read from /proc at each scrape.
// Thread-safe; a scrape costs a few small reads.
#pragma once

#include <prometheus/metric_family.h>

#include <span>
#include <vector>

#include "common/metrics/metric_table.h"

namespace tactus {

struct ProcessMetricSpec {
  const char* name;
  MetricType type;
  const char* unit;  // as MetricSpec's
  const char* help;
  double (*read)();
};

// Without labels; in every process.
std::span<const ProcessMetricSpec> ProcessMetricTable();

// Their values now.
std::vector<prometheus::MetricFamily> ProcessMetricFamilies();

// CPU seconds (user + system) used by this process so far; 0 where /proc is not available.
double ProcessCpuSeconds();

}  // namespace tactus
