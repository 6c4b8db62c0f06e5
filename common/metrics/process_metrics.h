// process_* metrics of this process, read from /proc at each scrape. Thread-safe; a scrape costs two small reads.
#pragma once

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <vector>

namespace tactus {

class ProcessMetrics : public prometheus::Collectable {
 public:
  std::vector<prometheus::MetricFamily> Collect() const override;
};

// CPU seconds (user + system) used by this process so far; 0 where /proc is not available.
double ProcessCpuSeconds();

}  // namespace tactus
