#include "common/storage/hub_store.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "common/base/back_off.h"
#include "common/base/file.h"
#include "common/base/json_field.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/base/strict_json.h"
#include "common/storage/http_get.h"

namespace tactus {
namespace {

constexpr size_t kMaxListingBytes = size_t{16} << 20;
constexpr int kTries = 6;
constexpr char kUnreserved[] = "-._~/";

std::string FromEnvironment(const char* name, absl::string_view otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' ? value : std::string(otherwise);
}

std::string Token() {
  std::string token = FromEnvironment("HF_TOKEN", "");
  if (!token.empty()) return token;
  const std::string home = FromEnvironment("HF_HOME", absl::StrCat(FromEnvironment("HOME", ""), "/.cache/huggingface"));
  const absl::StatusOr<std::string> kept = ReadFile(absl::StrCat(home, "/token"), 4096);
  return kept.ok() ? std::string(absl::StripAsciiWhitespace(*kept)) : "";
}

std::string Encoded(absl::string_view path) {
  std::string text;
  for (const char c : path) {
    if (absl::ascii_isalnum(static_cast<unsigned char>(c)) || absl::StrContains(kUnreserved, c)) {
      text += c;
    } else {
      absl::StrAppend(&text, "%", absl::Hex(static_cast<unsigned char>(c), absl::kZeroPad2));
    }
  }
  return text;
}

class HubStore final : public Store {
 public:
  HubStore(StorageUri uri, std::string repository, std::string revision, std::string folder)
      : uri_(std::move(uri)),
        repository_(std::move(repository)),
        revision_(std::move(revision)),
        folder_(std::move(folder)),
        endpoint_(FromEnvironment("HF_ENDPOINT", "https://huggingface.co")) {
    if (const std::string token = Token(); !token.empty())
      headers_.push_back(absl::StrCat("Authorization: Bearer ", token));
    absl::StripTrailingAsciiWhitespace(&endpoint_);
    while (absl::EndsWith(endpoint_, "/")) endpoint_.pop_back();
  }

  absl::StatusOr<std::vector<StoredFile>> List(bool below) override {
    const bool dataset = absl::StartsWith(repository_, "datasets/");
    const std::string url = absl::StrCat(endpoint_, "/api/", dataset ? "" : "models/", Encoded(repository_),
                                         "/revision/", Encoded(revision_), "?blobs=true");
    std::string text;
    const auto use = [&text, &url](absl::string_view piece) -> absl::Status {
      if (text.size() + piece.size() > kMaxListingBytes)
        return absl::FailedPreconditionError(absl::StrCat(url, ": too long"));
      absl::StrAppend(&text, piece);
      return absl::OkStatus();
    };
    RETURN_IF_ERROR(WithTries([&] {
      text.clear();
      return Get(url, 0, use);
    }));
    ASSIGN_OR_RETURN(const nlohmann::json json,
                     ParseJson(text, url, {.max_bytes = kMaxListingBytes, .max_values = size_t{1} << 22}));
    return Files(JsonField(json, url), below);
  }

  absl::Status Read(const StoredFile& file, uint64_t from,
                    absl::FunctionRef<absl::Status(absl::string_view)> use) override {
    const std::string url =
        absl::StrCat(endpoint_, "/", Encoded(repository_), "/resolve/", Encoded(commit_.empty() ? revision_ : commit_),
                     "/", Encoded(folder_), folder_.empty() ? "" : "/", Encoded(file.name));
    uint64_t had = from;
    const auto count = [&](absl::string_view piece) {
      had += piece.size();
      return use(piece);
    };
    return WithTries([&] {
      if (had >= file.bytes) return absl::OkStatus();
      RETURN_IF_ERROR(Get(url, had, count));
      return had >= file.bytes ? absl::OkStatus() : absl::UnavailableError(absl::StrCat(url, ": ended too soon"));
    });
  }

  absl::Status Write(const std::string&, const std::string&, uint64_t, const std::atomic<bool>&) override {
    return absl::UnimplementedError(
        absl::StrCat(uri_.Name(), ": nothing is written to the hub: expected s3://, gs:// or file://"));
  }
  absl::Status RemoveFolder(const std::string&) override {
    return absl::UnimplementedError(absl::StrCat(uri_.Name(), ": nothing is deleted on the hub"));
  }

 private:
  absl::Status Get(const std::string& url, uint64_t from,
                   absl::FunctionRef<absl::Status(absl::string_view)> use) const {
    absl::Status status = HttpGet(url, headers_, from, use);
    if (!absl::IsPermissionDenied(status)) return status;
    return absl::PermissionDeniedError(absl::StrCat(
        status.message(), headers_.empty() ? ": expected a token in HF_TOKEN, if the repository is gated or private"
                                           : ": the token in HF_TOKEN, or of the hub's login, has no access to it"));
  }

  static absl::Status WithTries(absl::FunctionRef<absl::Status()> get) {
    BackOff pause(absl::Seconds(1), absl::Seconds(16), /*jitter=*/true);
    while (true) {
      absl::Status status = get();
      if (!absl::IsUnavailable(status)) return status;
      const absl::Duration wait = pause.Next();
      if (pause.failures() >= kTries) return status;
      TACTUS_LOG(WARNING) << std::string(status.message()) << "; trying again in " << absl::FormatDuration(wait);
      absl::SleepFor(wait);
    }
  }

  absl::StatusOr<std::vector<StoredFile>> Files(const JsonField& repository, bool below) {
    JSON_MEMBER(commit_, repository, "sha", String());
    ASSIGN_OR_RETURN(const JsonField siblings, repository.Member("siblings"));
    ASSIGN_OR_RETURN(const size_t count, siblings.ArraySize());
    std::vector<StoredFile> found;
    for (size_t i = 0; i < count; ++i) {
      StoredFile file;
      const JsonField sibling = siblings.Element(i);
      JSON_MEMBER(file.name, sibling, "rfilename", String());
      absl::string_view name = file.name;
      if (!folder_.empty() && (!absl::ConsumePrefix(&name, folder_) || !absl::ConsumePrefix(&name, "/"))) continue;
      if (!below && absl::StrContains(name, '/')) continue;
      file.name = std::string(name);
      JSON_MEMBER(file.bytes, sibling, "size", Unsigned());
      JSON_MEMBER(file.tag, sibling, "blobId", String());
      ASSIGN_OR_RETURN(const JsonField lfs, sibling.Member("lfs"));
      if (!lfs.is_null()) {
        JSON_MEMBER(file.sha256_hex, lfs, "sha256", String());
      }
      found.push_back(std::move(file));
    }
    std::ranges::sort(found, {}, &StoredFile::name);
    return found;
  }

  const StorageUri uri_;
  const std::string repository_, revision_, folder_;
  std::string endpoint_;
  std::vector<std::string> headers_;
  std::string commit_;  // of the revision, once listed
};

}  // namespace

absl::StatusOr<std::unique_ptr<Store>> OpenHubStore(const StorageUri& folder) {
  const std::vector<std::string> parts = absl::StrSplit(folder.path, '/');
  const size_t names = parts[0] == "datasets" ? 3 : 2;
  std::string repository = absl::StrJoin(parts.begin(), parts.begin() + static_cast<ptrdiff_t>(names), "/");
  std::string revision = "main";
  if (const size_t at = repository.find('@'); at != std::string::npos) {
    revision = repository.substr(at + 1);
    repository.resize(at);
  }
  if (revision.empty())
    return absl::InvalidArgumentError(absl::StrCat(folder.Name(), ": expected a revision behind \"@\""));
  return std::make_unique<HubStore>(folder, std::move(repository), std::move(revision),
                                    absl::StrJoin(parts.begin() + static_cast<ptrdiff_t>(names), parts.end(), "/"));
}

}  // namespace tactus
