#include "learner/ledger/submission_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <optional>
#include <utility>
#include <vector>

#include "absl/memory/memory.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"

namespace tactus {
namespace {

constexpr size_t kLengthBytes = 4;
constexpr size_t kDigestBytes = 16;
constexpr size_t kHeaderBytes = kLengthBytes + kDigestBytes;
constexpr size_t kMaxSegmentBytes = size_t{8} << 30;
constexpr absl::string_view kPrefix = "group-";
constexpr absl::string_view kSuffix = ".log";

std::string SegmentPath(const std::string& folder, uint64_t segment) {
  return absl::StrFormat("%s/%s%08d%s", folder, kPrefix, segment, kSuffix);
}

// Numbers of the segments in the folder, ascending. Other files are not ours and stay untouched.
absl::StatusOr<std::vector<uint64_t>> ListSegments(const std::string& folder) {
  std::vector<uint64_t> segments;
  std::error_code error;
  for (const auto& item : std::filesystem::directory_iterator(folder, error)) {
    const std::string file = item.path().filename().string();
    absl::string_view name = file;
    uint64_t segment = 0;
    if (absl::ConsumePrefix(&name, kPrefix) && absl::ConsumeSuffix(&name, kSuffix) &&
        absl::SimpleAtoi(name, &segment)) {
      segments.push_back(segment);
    }
  }
  if (error) return absl::DataLossError(absl::StrCat("cannot list ", folder, ": ", error.message()));
  std::sort(segments.begin(), segments.end());
  return segments;
}

std::string Header(absl::string_view payload) {
  std::string header;
  const auto length = static_cast<uint32_t>(payload.size());
  for (int shift = 0; shift < 32; shift += 8) header.push_back(static_cast<char>(length >> shift & 0xFF));
  header += Sha256Hex(payload).substr(0, kDigestBytes);
  return header;
}

// Takes the first record off `rest`; nullopt when what stands there is none.
std::optional<absl::string_view> TakeRecord(absl::string_view& rest, size_t max_payload_bytes) {
  if (rest.size() < kHeaderBytes) return std::nullopt;
  size_t length = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) length |= size_t{static_cast<unsigned char>(rest[i])} << (8 * i);
  if (length > max_payload_bytes || length > rest.size() - kHeaderBytes) return std::nullopt;
  const absl::string_view payload = rest.substr(kHeaderBytes, length);
  if (rest.substr(0, kHeaderBytes) != Header(payload)) return std::nullopt;
  rest.remove_prefix(kHeaderBytes + length);
  return payload;
}

}  // namespace

absl::StatusOr<std::unique_ptr<SubmissionLog>> SubmissionLog::Open(const std::string& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return absl::FailedPreconditionError(absl::StrCat("cannot make folder ", folder, ": ", error.message()));
  ASSIGN_OR_RETURN(const std::vector<uint64_t> segments, ListSegments(folder));
  const bool has_records = std::any_of(segments.begin(), segments.end(), [&](uint64_t segment) {
    std::error_code ignored;
    return std::filesystem::file_size(SegmentPath(folder, segment), ignored) > 0;
  });
  auto log = absl::WrapUnique(new SubmissionLog(folder, segments.empty() ? 0 : segments.back(), has_records));
  absl::MutexLock lock(&log->mu_);
  RETURN_IF_ERROR(log->BeginSegment());
  return log;
}

SubmissionLog::SubmissionLog(std::string folder, uint64_t last_segment, bool has_earlier_records)
    : folder_(std::move(folder)),
      earlier_segments_(last_segment),
      has_earlier_records_(has_earlier_records),
      segment_(last_segment) {}

SubmissionLog::~SubmissionLog() {
  absl::MutexLock lock(&mu_);
  CloseSegment();
}

void SubmissionLog::CloseSegment() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

absl::Status SubmissionLog::BeginSegment() {
  CloseSegment();
  const std::string path = SegmentPath(folder_, ++segment_);
  fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd_ < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot create ", path));
  return SyncPath(folder_);
}

absl::Status SubmissionLog::Append(std::span<const absl::string_view> payloads) {
  std::string bytes;
  for (const absl::string_view payload : payloads) absl::StrAppend(&bytes, Header(payload), payload);
  absl::MutexLock lock(&mu_);
  if (fd_ < 0) RETURN_IF_ERROR(BeginSegment());
  const std::string path = SegmentPath(folder_, segment_);
  absl::string_view rest = bytes;
  absl::Status status;
  while (!rest.empty() && status.ok()) {
    const ssize_t written = ::write(fd_, rest.data(), rest.size());
    if (written >= 0) {
      rest.remove_prefix(static_cast<size_t>(written));
    } else if (errno != EINTR) {
      status = absl::ErrnoToStatus(errno, absl::StrCat("cannot write ", path));
    }
  }
  if (status.ok() && ::fdatasync(fd_) != 0) {
    status = absl::ErrnoToStatus(errno, absl::StrCat("cannot sync ", path));
  }
  if (!status.ok()) CloseSegment();
  return status;
}

absl::StatusOr<uint64_t> SubmissionLog::StartSegment() {
  absl::MutexLock lock(&mu_);
  RETURN_IF_ERROR(BeginSegment());
  return segment_;
}

absl::Status SubmissionLog::RemoveBefore(uint64_t segment) {
  ASSIGN_OR_RETURN(const std::vector<uint64_t> segments, ListSegments(folder_));
  for (const uint64_t old : segments) {
    if (old >= segment) break;
    const std::string path = SegmentPath(folder_, old);
    if (::unlink(path.c_str()) != 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot delete ", path));
  }
  return SyncPath(folder_);
}

absl::Status SubmissionLog::Replay(uint64_t first_segment, size_t max_payload_bytes,
                                   const std::function<void(absl::string_view)>& use) const {
  ASSIGN_OR_RETURN(const std::vector<uint64_t> segments, ListSegments(folder_));
  for (const uint64_t segment : segments) {
    if (segment < first_segment || segment > earlier_segments_) continue;
    const std::string path = SegmentPath(folder_, segment);
    ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path, kMaxSegmentBytes));
    absl::string_view rest = bytes;
    while (const std::optional<absl::string_view> payload = TakeRecord(rest, max_payload_bytes)) use(*payload);
    if (!rest.empty()) {
      TACTUS_LOG(WARNING) << path << ": the last " << rest.size() << " of " << bytes.size()
                          << " bytes are no complete record and were left out";
    }
  }
  return absl::OkStatus();
}

}  // namespace tactus
