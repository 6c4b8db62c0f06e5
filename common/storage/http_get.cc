#include "common/storage/http_get.h"

#include <curl/curl.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace tactus {
namespace {

constexpr long kConnectTimeout_s = 10, kSilence_s = 30, kRedirects = 10;
constexpr long kOk = 200, kPartial = 206;

struct Transfer {
  CURL* curl;
  uint64_t skip;  // of a server that begins at the first byte nevertheless
  absl::FunctionRef<absl::Status(absl::string_view)> use;
  absl::Status used = absl::OkStatus();
};

long StatusOf(CURL* curl) {
  long status = 0;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  return status;
}

// curl's callback: fewer bytes than there are end the transfer.
size_t Take(char* data, size_t one, size_t bytes, void* transfer_ptr) {
  auto& transfer = *static_cast<Transfer*>(transfer_ptr);
  const long status = StatusOf(transfer.curl);
  if (status != kOk && status != kPartial) return one * bytes;  // an error's page
  absl::string_view piece(data, one * bytes);
  if (status == kOk) {
    const size_t skipped = std::min<uint64_t>(transfer.skip, piece.size());
    transfer.skip -= skipped;
    piece.remove_prefix(skipped);
  }
  if (!piece.empty()) transfer.used = transfer.use(piece);
  return transfer.used.ok() ? one * bytes : 0;
}

absl::Status ErrorOf(const std::string& url, CURLcode code, const char* why) {
  const std::string text = absl::StrCat(url, ": ", *why != '\0' ? why : curl_easy_strerror(code));
  switch (code) {
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
    case CURLE_TOO_MANY_REDIRECTS:
      return absl::FailedPreconditionError(text);
    default:
      return absl::UnavailableError(text);
  }
}

absl::Status StatusToError(const std::string& url, long status) {
  const std::string text = absl::StrCat(url, ": the server answered ", status);
  if (status == kOk || status == kPartial) return absl::OkStatus();
  if (status == 404) return absl::NotFoundError(text);
  if (status == 401 || status == 403) return absl::PermissionDeniedError(text);
  if (status == 429 || status >= 500) return absl::UnavailableError(text);
  return absl::FailedPreconditionError(text);
}

}  // namespace

absl::Status HttpGet(const std::string& url, const std::vector<std::string>& headers, uint64_t from,
                     absl::FunctionRef<absl::Status(absl::string_view)> use) {
  static const CURLcode begun = curl_global_init(CURL_GLOBAL_DEFAULT);
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> owner(curl_easy_init(), curl_easy_cleanup);
  CURL* curl = owner.get();
  if (begun != CURLE_OK || curl == nullptr) return absl::InternalError("libcurl could not be initialised");
  curl_slist* list = nullptr;
  for (const std::string& header : headers) list = curl_slist_append(list, header.c_str());
  const std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> list_owner(list, curl_slist_free_all);
  Transfer transfer{.curl = curl, .skip = from, .use = use};
  char why[CURL_ERROR_SIZE] = "";
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, list);
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(curl, CURLOPT_MAXREDIRS, kRedirects);
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, kConnectTimeout_s);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, kSilence_s);
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "tactus");
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, Take);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &transfer);
  if (const char* authorities = std::getenv("SSL_CERT_FILE")) curl_easy_setopt(curl, CURLOPT_CAINFO, authorities);
  const std::string range = absl::StrCat(from, "-");
  if (from > 0) curl_easy_setopt(curl, CURLOPT_RANGE, range.c_str());
  const CURLcode code = curl_easy_perform(curl);
  RETURN_IF_ERROR(transfer.used);
  return code == CURLE_OK ? StatusToError(url, StatusOf(curl)) : ErrorOf(url, code, why);
}

}  // namespace tactus
