#include "learner/ledger/submission_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>
#include <vector>

#include "absl/memory/memory.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/paths.h"
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
  const absl::StatusOr<std::vector<std::string>> files = ListFolder(folder);
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

std::string Header(absl::string_view payload) {
  std::string header;
  const auto length = static_cast<uint32_t>(payload.size());
  for (int shift = 0; shift < 32; shift += 8) header.push_back(static_cast<char>(length >> shift & 0xFF));
  header += Sha256Hex(payload).substr(0, kDigestBytes);
  return header;
}

// What the header at the front of `rest` says, which has one.
size_t PayloadBytes(absl::string_view rest) {
  size_t length = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) length |= size_t{static_cast<unsigned char>(rest[i])} << (8 * i);
  return length;
}

// Takes the first record off `rest`; nullopt when what stands there is none.
std::optional<absl::string_view> TakeRecord(absl::string_view& rest, size_t max_payload_bytes) {
  if (rest.size() < kHeaderBytes) return std::nullopt;
  const size_t length = PayloadBytes(rest);
  if (length > max_payload_bytes || length > rest.size() - kHeaderBytes) return std::nullopt;
  const absl::string_view payload = rest.substr(kHeaderBytes, length);
  if (rest.substr(0, kHeaderBytes) != Header(payload)) return std::nullopt;
  rest.remove_prefix(kHeaderBytes + length);
  return payload;
}

// Where the next record begins after what stands first and is none: behind the length that it claims, or else wherever
// 16 hex digits are the digest of what follows. rest.size(): there is none.
size_t NextRecord(absl::string_view rest, size_t max_payload_bytes) {
  const auto is_record = [&](size_t at) {
    absl::string_view from = rest.substr(at);
    return TakeRecord(from, max_payload_bytes).has_value();
  };
  if (rest.size() >= kHeaderBytes) {
    const size_t claimed = kHeaderBytes + PayloadBytes(rest);
    if (claimed < rest.size() && is_record(claimed)) return claimed;
  }
  size_t digits = 0;
  for (size_t i = kLengthBytes + 1; i < rest.size(); ++i) {
    digits = absl::ascii_isxdigit(static_cast<unsigned char>(rest[i])) ? digits + 1 : 0;
    if (digits >= kDigestBytes && is_record(i + 1 - kHeaderBytes)) return i + 1 - kHeaderBytes;
  }
  return rest.size();
}

// Whether `rest` may be the beginning of a record whose end was not written.
bool MayBeTorn(absl::string_view rest, size_t max_payload_bytes) {
  if (rest.size() < kHeaderBytes) return true;
  const size_t length = PayloadBytes(rest);
  return length <= max_payload_bytes && length > rest.size() - kHeaderBytes;
}

absl::Status ReplaySegment(const std::string& path, size_t max_payload_bytes,
                           const std::function<void(absl::string_view)>& use) {
  ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path, kMaxSegmentBytes));
  absl::string_view rest = bytes;
  size_t damaged_bytes = 0, first_damage = 0;
  while (!rest.empty()) {
    if (const std::optional<absl::string_view> payload = TakeRecord(rest, max_payload_bytes)) {
      use(*payload);
      continue;
    }
    const size_t next = NextRecord(rest, max_payload_bytes);
    if (next == rest.size() && MayBeTorn(rest, max_payload_bytes)) break;
    if (damaged_bytes == 0) first_damage = bytes.size() - rest.size();
    damaged_bytes += next;
    rest.remove_prefix(next);
  }
  if (!rest.empty()) {
    TACTUS_LOG(WARNING) << path << ": the last " << rest.size() << " of " << bytes.size()
                        << " bytes are no complete record and were left out";
  }
  if (damaged_bytes == 0) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::string aside, KeepAside(path));
  TACTUS_LOG(WARNING) << path << ": " << damaged_bytes << " of " << bytes.size()
                      << " bytes are damaged and were passed over, the first is byte " << first_damage << "; " << aside
                      << " is the segment as it is";
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<SubmissionLog>> SubmissionLog::Open(const std::string& folder) {
  RETURN_IF_ERROR(MakeFolders(folder));
  ASSIGN_OR_RETURN(const std::vector<uint64_t> segments, ListSegments(folder));
  const bool has_records = std::any_of(segments.begin(), segments.end(), [&](uint64_t segment) {
    return RegularFileBytes(SegmentPath(folder, segment)).value_or(0) > 0;
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
    RETURN_IF_ERROR(ReplaySegment(SegmentPath(folder_, segment), max_payload_bytes, use));
  }
  return absl::OkStatus();
}

}  // namespace tactus
