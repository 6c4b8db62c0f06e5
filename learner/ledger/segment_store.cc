#include "learner/ledger/segment_store.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "common/base/file.h"
#include "common/base/file_calls.h"
#include "common/base/paths.h"
#include "common/base/status_macros.h"

namespace tactus {
namespace {

constexpr absl::string_view kPrefix = "group-";
constexpr absl::string_view kSuffix = ".log";

class SegmentFolder final : public SegmentStore {
 public:
  explicit SegmentFolder(std::string folder) : folder_(std::move(folder)) {}
  ~SegmentFolder() override { SegmentFolder::Close(); }

  absl::StatusOr<std::vector<uint64_t>> List() const override;
  absl::StatusOr<uint64_t> Size(uint64_t segment) const override { return RegularFileBytes(Name(segment)); }
  absl::Status Create(uint64_t segment) override;
  absl::Status Write(std::span<const absl::string_view> pieces) override;
  absl::Status Sync() override {
    if (::fdatasync(fd_) == 0) return absl::OkStatus();
    return FromErrno("cannot sync", Name(written_));
  }
  void Close() override {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  absl::StatusOr<size_t> Read(uint64_t segment, uint64_t offset, std::span<char> to) const override;
  absl::Status Remove(std::span<const uint64_t> segments) override;
  absl::StatusOr<std::string> KeepAside(uint64_t segment) const override { return tactus::KeepAside(Name(segment)); }
  std::string Name(uint64_t segment) const override {
    return absl::StrFormat("%s/%s%08d%s", folder_, kPrefix, segment, kSuffix);
  }

 private:
  const std::string folder_;
  uint64_t written_ = 0;
  int fd_ = -1;  // of written_
};

absl::StatusOr<std::vector<uint64_t>> SegmentFolder::List() const {
  const absl::StatusOr<std::vector<std::string>> files = ListFolder(folder_);
  if (!files.ok()) return absl::DataLossError(files.status().message());
  std::vector<uint64_t> segments;
  for (const std::string& file : *files) {
    absl::string_view name = file;
    uint64_t segment = 0;
    if (absl::ConsumePrefix(&name, kPrefix) && absl::ConsumeSuffix(&name, kSuffix) &&
        absl::SimpleAtoi(name, &segment)) {
      segments.push_back(segment);
    }
  }
  std::sort(segments.begin(), segments.end());
  return segments;
}

absl::Status SegmentFolder::Create(uint64_t segment) {
  Close();
  written_ = segment;
  const std::string path = Name(segment);
  fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd_ < 0) return FromErrno("cannot create", path);
  return SyncPath(folder_);
}

absl::Status SegmentFolder::Write(std::span<const absl::string_view> pieces) {
  std::vector<iovec> rest;
  for (const absl::string_view piece : pieces) {
    if (!piece.empty()) rest.push_back({const_cast<char*>(piece.data()), piece.size()});
  }
  for (size_t next = 0; next < rest.size();) {
    const size_t count = std::min(rest.size() - next, static_cast<size_t>(IOV_MAX));
    const ssize_t written = ::writev(fd_, &rest[next], static_cast<int>(count));
    if (written < 0 && errno != EINTR) return FromErrno("cannot write", Name(written_));
    for (auto left = static_cast<size_t>(std::max<ssize_t>(written, 0)); left > 0;) {
      iovec& piece = rest[next];
      const size_t done = std::min(left, piece.iov_len);
      piece = {static_cast<char*>(piece.iov_base) + done, piece.iov_len - done};
      if (piece.iov_len == 0) ++next;
      left -= done;
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<size_t> SegmentFolder::Read(uint64_t segment, uint64_t offset, std::span<char> to) const {
  const std::string path = Name(segment);
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return FromErrno("cannot open", path);
  const absl::Cleanup close = [fd] { ::close(fd); };
  size_t read = 0;
  while (read < to.size()) {
    const ssize_t n = ::pread(fd, to.data() + read, to.size() - read, static_cast<off_t>(offset + read));
    if (n == 0) break;
    if (n < 0 && errno != EINTR) return FromErrno("cannot read", path);
    read += static_cast<size_t>(std::max<ssize_t>(n, 0));
  }
  return read;
}

absl::Status SegmentFolder::Remove(std::span<const uint64_t> segments) {
  for (const uint64_t segment : segments) {
    const std::string path = Name(segment);
    if (::unlink(path.c_str()) != 0) return FromErrno("cannot delete", path);
  }
  return SyncPath(folder_);
}

}  // namespace

absl::StatusOr<std::unique_ptr<SegmentStore>> OpenSegmentFolder(const std::string& folder) {
  RETURN_IF_ERROR(MakeFolders(folder));
  return std::make_unique<SegmentFolder>(folder);
}

}  // namespace tactus
