// GET by HTTP and HTTPS (libcurl), with the system's authorities or those of $SSL_CERT_FILE, and by the proxies that
// the environment names. Redirects are followed; an Authorization header stays with the host that it was for.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace tactus {

// Hands over the content from byte `from` on, in pieces, whether the server knows ranges or not; or ends with what
// `use` returned. Blocks; gives up when nothing comes for 30 s. NotFound: 404. PermissionDenied: 401 and 403.
// Unavailable: no connection, a broken one, 429 and 5xx, after which another try may be worth it: `use` has had what
// came until then. FailedPrecondition: a certificate, or any other answer. Errors name the URL. Thread-safe.
absl::Status HttpGet(const std::string& url, const std::vector<std::string>& headers, uint64_t from,
                     absl::FunctionRef<absl::Status(absl::string_view)> use);

}  // namespace tactus
