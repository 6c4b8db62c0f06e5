// When the certificates a process uses expire, as metrics: they can be renewed without a restart, so somebody has to
// notice when they are not.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/metrics/metric_set.h"
#include "common/rollout/channel_security.h"

namespace tactus {

// The earliest end of validity of the certificates in a PEM text. InvalidArgument: there is none, or one is broken.
absl::StatusOr<absl::Time> EarliestExpiry(absl::string_view pem);

// Owned by one thread.
class CertificateMetrics {
 public:
  explicit CertificateMetrics(ChannelSecurity security) : security_(std::move(security)) {}

  // Reads the files again, at most every 30 s. One that cannot be read leaves the last value and a warning.
  void Update(MetricSet& metrics);

 private:
  const ChannelSecurity security_;
  absl::Time next_ = absl::InfinitePast();  // on the monotonic clock
};

}  // namespace tactus
