#include "common/storage/arrow_store.h"

#include <arrow/buffer.h>
#include <arrow/filesystem/filesystem.h>
#include <arrow/filesystem/gcsfs.h>
#include <arrow/filesystem/localfs.h>
#include <arrow/filesystem/s3fs.h>
#include <arrow/io/interfaces.h>
#include <arrow/util/future.h>
#include <arrow/util/io_util.h>

#include <algorithm>
#include <cstdlib>
#include <deque>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/status_macros.h"
#include "common/base/file_pieces.h"

namespace tactus {
namespace {

namespace afs = arrow::fs;

constexpr int64_t kPieceBytes = int64_t{8} << 20;  // one request
constexpr size_t kPiecesAtOnce = 4;
constexpr double kConnectTimeout_s = 10;
constexpr double kRetryLimit_s = 60;  // of Google's client, whose own is a quarter of an hour
constexpr int64_t kTries = 6;         // of Amazon's, whose pauses double
constexpr size_t kMaxShownBytes = 300;
constexpr char kAnonymous[] = "anonymous@";

absl::StatusCode CodeOf(const arrow::Status& status) {
  const std::string& why = status.message();
  const auto says = [&why](std::initializer_list<const char*> words) {
    return std::ranges::any_of(words, [&why](const char* word) { return absl::StrContains(why, word); });
  };
  if (arrow::internal::ErrnoFromStatus(status) == ENOENT || says({"NO_SUCH_BUCKET", "NO_SUCH_KEY", "NOT_FOUND"})) {
    return absl::StatusCode::kNotFound;
  }
  if (says({"ACCESS_DENIED", "INVALID_ACCESS_KEY_ID", "INVALID_CLIENT_TOKEN_ID", "SIGNATURE_DOES_NOT_MATCH",
            "MISSING_AUTHENTICATION", "PERMISSION_DENIED", "UNAUTHENTICATED", "Permission denied"})) {
    return absl::StatusCode::kPermissionDenied;
  }
  return status.IsIOError() ? absl::StatusCode::kUnavailable : absl::StatusCode::kInvalidArgument;
}

absl::Status ToStatus(absl::string_view what, const arrow::Status& status) {
  if (status.ok()) return absl::OkStatus();
  const absl::string_view why = status.message();
  return absl::Status(CodeOf(status),
                      absl::StrCat(what, ": ", why.substr(0, why.find('\n')).substr(0, kMaxShownBytes)));
}

arrow::Result<std::shared_ptr<afs::FileSystem>> TryMakeS3(const std::string& bucket) {
  static const arrow::Status* const begun =
      new arrow::Status(afs::InitializeS3(afs::S3GlobalOptions{.log_level = afs::S3LogLevel::Off}));
  ARROW_RETURN_NOT_OK(*begun);
  ARROW_ASSIGN_OR_RAISE(afs::S3Options options, afs::S3Options::FromUri(bucket));
  options.connect_timeout = kConnectTimeout_s;
  options.retry_strategy = afs::S3RetryStrategy::GetAwsStandardRetryStrategy(kTries);
  return afs::S3FileSystem::Make(options);
}

arrow::Result<std::shared_ptr<afs::FileSystem>> MakeS3(const std::string& bucket) {
  auto made = TryMakeS3(bucket);
  // It must be ended before the process is, and before what its clients have made, so that is registered after each,
  // however the making ended; the last registered is called first.
  std::atexit([] {
    static bool ended = false;
    if (!std::exchange(ended, true)) static_cast<void>(afs::EnsureS3Finalized());
  });
  return made;
}

arrow::Result<std::shared_ptr<afs::FileSystem>> MakeGcs(const std::string& bucket) {
  ARROW_ASSIGN_OR_RAISE(afs::GcsOptions options, afs::GcsOptions::FromUri(bucket, nullptr));
  if (!options.retry_limit_seconds.has_value()) options.retry_limit_seconds = kRetryLimit_s;
  return afs::GcsFileSystem::Make(options);
}

class ArrowStore final : public Store {
 public:
  ArrowStore(StorageUri uri, std::shared_ptr<afs::FileSystem> files)
      : uri_(std::move(uri)),
        folder_(absl::StripPrefix(uri_.path, uri_.scheme == "gs" ? kAnonymous : "")),
        files_(std::move(files)) {}

  absl::StatusOr<std::vector<StoredFile>> List(bool below) override {
    afs::FileSelector selector;
    selector.base_dir = folder_;
    selector.allow_not_found = true;
    selector.recursive = below;
    const arrow::Result<std::vector<afs::FileInfo>> infos = files_->GetFileInfo(selector);
    RETURN_IF_ERROR(ToStatus(uri_.Name(), infos.status()));
    std::vector<StoredFile> found;
    for (const afs::FileInfo& info : *infos) {
      if (info.type() != afs::FileType::File) continue;
      absl::string_view name = info.path();
      if (!absl::ConsumePrefix(&name, folder_) || !absl::ConsumePrefix(&name, "/")) continue;
      found.push_back({.name = std::string(name),
                       .bytes = static_cast<uint64_t>(std::max<int64_t>(info.size(), 0)),
                       .tag = absl::StrCat(info.mtime().time_since_epoch().count()),
                       .sha256_hex = {}});
    }
    std::ranges::sort(found, {}, &StoredFile::name);
    return found;
  }

  absl::Status Read(const StoredFile& file, uint64_t from,
                    absl::FunctionRef<absl::Status(absl::string_view)> use) override {
    const std::string what = (uri_ / file.name).Name();
    const arrow::Result<std::shared_ptr<arrow::io::RandomAccessFile>> opened = files_->OpenInputFile(PathOf(file.name));
    RETURN_IF_ERROR(ToStatus(what, opened.status()));
    std::deque<arrow::Future<std::shared_ptr<arrow::Buffer>>> pieces;  // asked for, in order
    const int64_t end = static_cast<int64_t>(file.bytes);
    int64_t asked = static_cast<int64_t>(from), had = asked;
    absl::Status status;
    while (status.ok() && had < end) {
      for (; asked < end && pieces.size() < kPiecesAtOnce; asked += kPieceBytes) {
        pieces.push_back(
            (*opened)->ReadAsync(arrow::io::default_io_context(), asked, std::min(kPieceBytes, end - asked)));
      }
      const arrow::Result<std::shared_ptr<arrow::Buffer>> piece = pieces.front().result();
      pieces.pop_front();
      status = ToStatus(what, piece.status());
      if (status.ok() && (*piece)->size() == 0) status = absl::UnavailableError(absl::StrCat(what, ": ended too soon"));
      if (!status.ok()) break;
      // A short one would leave a gap before the next.
      const int64_t expected = std::min(kPieceBytes, end - had);
      if ((*piece)->size() != expected) status = absl::UnavailableError(absl::StrCat(what, ": ended too soon"));
      if (status.ok())
        status = use({reinterpret_cast<const char*>((*piece)->data()), static_cast<size_t>((*piece)->size())});
      had += expected;
    }
    for (const auto& piece : pieces) piece.Wait();
    return status;
  }

  absl::Status Write(const std::string& name, const std::string& path, uint64_t bytes,
                     const std::atomic<bool>& give_up) override {
    const std::string what = (uri_ / name).Name();
    // An object appears when it is closed; on a disk it is renamed then.
    const bool local = uri_.scheme == "file";
    const std::string to = PathOf(name), aside = local ? absl::StrCat(to, ".part") : to;
    if (local) RETURN_IF_ERROR(ToStatus(what, files_->CreateDir(to.substr(0, to.rfind('/')), /*recursive=*/true)));
    const arrow::Result<std::shared_ptr<arrow::io::OutputStream>> stream = files_->OpenOutputStream(aside, nullptr);
    RETURN_IF_ERROR(ToStatus(what, stream.status()));
    const auto write = [&](absl::string_view piece) -> absl::Status {
      if (give_up) return absl::CancelledError(absl::StrCat(what, ": the upload was given up"));
      return ToStatus(what, (*stream)->Write(piece.data(), static_cast<int64_t>(piece.size())));
    };
    absl::Status status = ForEachPiece(path, bytes, write);
    if (!status.ok()) {
      (*stream)->Abort().Warn();
      return status;
    }
    RETURN_IF_ERROR(ToStatus(what, (*stream)->Close()));
    return local ? ToStatus(what, files_->Move(aside, to)) : absl::OkStatus();
  }

  absl::Status RemoveFolder(const std::string& name) override {
    const arrow::Status status = files_->DeleteDir(PathOf(name));
    return arrow::internal::ErrnoFromStatus(status) == ENOENT ? absl::OkStatus()
                                                              : ToStatus((uri_ / name).Name(), status);
  }

 private:
  std::string PathOf(const std::string& name) const { return absl::StrCat(folder_, "/", name); }

  const StorageUri uri_;
  const std::string folder_;  // as its file system calls it
  const std::shared_ptr<afs::FileSystem> files_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Store>> OpenArrowStore(const StorageUri& folder) {
  const std::string bucket = absl::StrCat(folder.scheme, "://", folder.path.substr(0, folder.path.find('/')),
                                          folder.query.empty() ? "" : "?", folder.query);
  arrow::Result<std::shared_ptr<afs::FileSystem>> files = std::make_shared<afs::LocalFileSystem>();
  if (folder.scheme == "s3") files = MakeS3(bucket);
  if (folder.scheme == "gs") files = MakeGcs(bucket);
  RETURN_IF_ERROR(ToStatus(folder.Name(), files.status()));
  return std::make_unique<ArrowStore>(folder, *std::move(files));
}

}  // namespace tactus
