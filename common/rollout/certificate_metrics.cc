#include "common/rollout/certificate_metrics.h"

#include <string>

#include "absl/time/clock.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/monotonic_clock.h"
#include "common/rollout/certificates.h"

namespace tactus {
namespace {

constexpr absl::Duration kEvery = absl::Seconds(30), kWarnEvery = absl::Hours(1);
constexpr size_t kMaxCertificateBytes = size_t{1} << 20;

}  // namespace

void CertificateMetrics::Show(MetricSet& metrics, const char* label, const std::string& path) const {
  const absl::StatusOr<std::string> pem = ReadFile(path, kMaxCertificateBytes);
  const absl::StatusOr<absl::Time> expiry = pem.ok() ? EarliestExpiry(*pem) : pem.status();
  if (!expiry.ok()) return;
  metrics.Set(Metric::kTlsCertificateExpiry, static_cast<double>(absl::ToUnixSeconds(*expiry)), label);
}

void CertificateMetrics::Update(MetricSet& metrics) {
  const absl::Time now = MonotonicNow();
  if (security_.tls_cert_path.empty() || now < next_) return;
  next_ = now + kEvery;
  Show(metrics, "own", security_.tls_cert_path);
  Show(metrics, "ca", security_.tls_ca_path);
  if (now < next_warning_) return;
  const absl::StatusOr<CertificateFacts> facts = ReadCertificates(security_, absl::Now());
  const std::string warning =
      facts.ok() ? ExpiryWarning(*facts, security_, absl::Now()) : std::string(facts.status().message());
  if (warning.empty()) return;
  TACTUS_LOG(WARNING) << warning;
  next_warning_ = now + kWarnEvery;
}

}  // namespace tactus
