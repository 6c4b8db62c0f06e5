// When the certificates a process uses expire, as metrics: they can be renewed without a restart, so somebody has to
// notice when they are not, or wrongly.
#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/metrics/metric_set.h"
#include "common/rollout/channel_security.h"

namespace tactus {

// Owned by one thread.
class CertificateMetrics {
 public:
  explicit CertificateMetrics(ChannelSecurity security) : security_(std::move(security)) {}

  // Reads the files again, at most every 30 s. One that cannot be read leaves its last value. What a start would refuse
  // or warn of is logged as a warning, once an hour.
  void Update(MetricSet& metrics);

 private:
  void Show(MetricSet& metrics, const char* label, const std::string& path) const;

  const ChannelSecurity security_;
  // On the monotonic clock.
  absl::Time next_ = absl::InfinitePast();
  absl::Time next_warning_ = absl::InfinitePast();
};

}  // namespace tactus
