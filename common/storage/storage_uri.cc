#include "common/storage/storage_uri.h"

#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace tactus {
namespace {

constexpr absl::string_view kMark = "://";
constexpr char kExpected[] = "expected s3://BUCKET/KEY, gs://BUCKET/KEY, hf://ORG/NAME@REV or file:///PATH";

absl::Status Wrong(absl::string_view text, absl::string_view expected) {
  return absl::InvalidArgumentError(absl::StrCat(text, ": ", expected));
}

bool IsName(absl::string_view part) {
  return !part.empty() && part != "." && part != ".." && std::ranges::none_of(part, absl::ascii_iscntrl);
}

}  // namespace

bool LeadsDown(absl::string_view path) {
  const std::vector<absl::string_view> parts = absl::StrSplit(path, '/');
  return std::ranges::all_of(parts, IsName);
}

bool IsUri(absl::string_view path) {
  const size_t mark = path.find(kMark);
  return mark != absl::string_view::npos && mark > 0 && std::ranges::all_of(path.substr(0, mark), absl::ascii_isalnum);
}

absl::StatusOr<StorageUri> StorageUri::Parse(absl::string_view text) {
  const size_t mark = text.find(kMark);
  if (!IsUri(text)) return Wrong(text, kExpected);
  StorageUri uri{.scheme = std::string(text.substr(0, mark)), .path = {}, .query = {}};
  absl::string_view rest = text.substr(mark + kMark.size());
  const bool local = uri.scheme == "file", hub = uri.scheme == "hf";
  if (!local && !hub && uri.scheme != "s3" && uri.scheme != "gs") return Wrong(text, kExpected);
  if (const size_t query = rest.find('?'); query != absl::string_view::npos) {
    uri.query = std::string(rest.substr(query + 1));
    rest = rest.substr(0, query);
  }
  if ((local || hub) && !uri.query.empty()) return Wrong(text, "expected nothing behind a \"?\"");
  while (absl::ConsumeSuffix(&rest, "/")) {
  }
  uri.path = std::string(rest);
  if (local && !absl::ConsumePrefix(&rest, "/")) return Wrong(text, "expected an absolute path behind file://");
  const std::vector<absl::string_view> parts = absl::StrSplit(rest, '/');
  if (!LeadsDown(rest)) return Wrong(text, "expected names between its slashes, not \"..\" or none");
  absl::string_view bucket = parts[0];
  if (uri.scheme == "gs") absl::ConsumePrefix(&bucket, "anonymous@");  // who nobody is needs no key
  const bool secret = !hub && !local && absl::StrContains(bucket, '@');
  if (secret || absl::StrContains(uri.query, "secret")) {
    return absl::InvalidArgumentError(absl::StrCat(
        uri.scheme,
        "://…: expected no key or password in it, but in the environment (AWS_ACCESS_KEY_ID and the like)"));
  }
  if (hub && parts.size() < (parts[0] == "datasets" ? 3 : 2)) return Wrong(text, kExpected);
  return uri;
}

StorageUri StorageUri::operator/(absl::string_view name) const {
  return {.scheme = scheme, .path = absl::StrCat(path, "/", name), .query = query};
}

std::string StorageUri::Text() const { return absl::StrCat(scheme, kMark, path, query.empty() ? "" : "?", query); }

std::string StorageUri::Name() const { return absl::StrCat(scheme, kMark, path); }

std::string StorageUri::Last() const {
  const size_t slash = path.rfind('/');
  const std::string last = slash == std::string::npos ? path : path.substr(slash + 1);
  return scheme == "hf" ? last.substr(0, last.find('@')) : last;
}

}  // namespace tactus
