#include "common/rollout/certificate_metrics.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <algorithm>
#include <ctime>
#include <memory>

#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/monotonic_clock.h"
#include "common/base/status_macros.h"

namespace tactus {
namespace {

constexpr absl::Duration kEvery = absl::Seconds(30);
constexpr size_t kMaxCertificateBytes = size_t{1} << 20;

absl::StatusOr<absl::Time> ExpiryOfFile(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string pem, ReadFile(path, kMaxCertificateBytes));
  return EarliestExpiry(pem);
}

}  // namespace

absl::StatusOr<absl::Time> EarliestExpiry(absl::string_view pem) {
  const std::unique_ptr<BIO, int (*)(BIO*)> bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), BIO_free);
  absl::Time earliest = absl::InfiniteFuture();
  while (true) {
    const std::unique_ptr<X509, void (*)(X509*)> certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr),
                                                             X509_free);
    if (certificate == nullptr) break;
    std::tm end{};
    if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate.get()), &end) != 1) {
      return absl::InvalidArgumentError("a certificate's end of validity is no time");
    }
    earliest = std::min(earliest, absl::FromTM(end, absl::UTCTimeZone()));
  }
  const unsigned long error = ERR_peek_last_error();
  ERR_clear_error();
  if (ERR_GET_LIB(error) != ERR_LIB_PEM || ERR_GET_REASON(error) != PEM_R_NO_START_LINE) {
    return absl::InvalidArgumentError("a certificate cannot be read: expected PEM text");
  }
  if (earliest == absl::InfiniteFuture()) return absl::InvalidArgumentError("expected a certificate in PEM text");
  return earliest;
}

void CertificateMetrics::Update(MetricSet& metrics) {
  if (security_.tls_cert_path.empty() || MonotonicNow() < next_) return;
  next_ = MonotonicNow() + kEvery;
  for (const auto& [label, path] :
       {std::pair("own", security_.tls_cert_path), std::pair("ca", security_.tls_ca_path)}) {
    const absl::StatusOr<absl::Time> expiry = ExpiryOfFile(path);
    if (expiry.ok()) {
      metrics.Set(Metric::kTlsCertificateExpiry, static_cast<double>(absl::ToUnixSeconds(*expiry)), label);
    } else {
      TACTUS_LOG(WARNING) << path << ": " << expiry.status().message();
    }
  }
}

}  // namespace tactus
