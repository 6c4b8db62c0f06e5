// What stands in the certificate files of a process, and whether it can work with them. Read, checked and never kept.
// Pure but for reading the files; thread-safe.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/rollout/channel_security.h"

namespace tactus {

// The earliest end of validity of the certificates in a PEM text. InvalidArgument: there is none, or one is broken.
absl::StatusOr<absl::Time> EarliestExpiry(absl::string_view pem);

struct CertificateFacts {
  absl::Time own_expiry;          // of the first of its chain to end
  absl::Time ca_expiry;           // of the last authority to end
  std::vector<std::string> uris;  // subject alternative names of the process's own certificate
  bool may_serve = false;         // its key usages, where it names any, let it be a server's, or a client's
  bool may_call = false;
};

// Reads the three files that are set. InvalidArgument, one sentence that names the field and the file: no PEM text, no
// certificate, a key behind a passphrase, a key that does not fit, a certificate of the chain or every authority not
// valid yet or any more at `now`. NotFound and others: a file cannot be read.
absl::StatusOr<CertificateFacts> ReadCertificates(const ChannelSecurity& security, absl::Time now);

// A sentence when a certificate ends within a week; otherwise empty.
std::string ExpiryWarning(const CertificateFacts& facts, const ChannelSecurity& security, absl::Time now);

}  // namespace tactus
