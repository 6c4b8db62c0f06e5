#include "learner/ledger/submission_log.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/ascii.h"
#include "common/base/log.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"

namespace tactus {
namespace {

constexpr size_t kLengthBytes = 4;
constexpr size_t kDigestBytes = 16;
constexpr size_t kHeaderBytes = kLengthBytes + kDigestBytes;
constexpr size_t kReadBytes = size_t{1} << 20;

std::string Header(const SubmissionLog::Payload& payload) {
  size_t bytes = 0;
  Sha256 digest;
  for (const absl::string_view piece : payload) {
    bytes += piece.size();
    digest.Update(piece);
  }
  std::string header;
  const auto length = static_cast<uint32_t>(bytes);
  for (int shift = 0; shift < 32; shift += 8) header.push_back(static_cast<char>(length >> shift & 0xFF));
  header += digest.FinishHex().substr(0, kDigestBytes);
  return header;
}

size_t PayloadBytes(absl::string_view header) {
  size_t length = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) length |= size_t{static_cast<unsigned char>(header[i])} << (8 * i);
  return length;
}

// One segment, read from front to back with as much of it in memory as is looked at.
class SegmentReader {
 public:
  static absl::StatusOr<SegmentReader> Open(const SegmentStore& segments, uint64_t segment, size_t max_payload_bytes) {
    ASSIGN_OR_RETURN(const uint64_t size, segments.Size(segment));
    return SegmentReader(segments, segment, size, max_payload_bytes);
  }
  uint64_t size() const { return size_; }

  // The payload of the record at `at`, until the next call; nullopt when what stands there is none.
  absl::StatusOr<std::optional<absl::string_view>> RecordAt(uint64_t at) {
    ASSIGN_OR_RETURN(const absl::string_view header, Bytes(at, kHeaderBytes));
    if (header.size() < kHeaderBytes) return std::nullopt;
    const size_t length = PayloadBytes(header);
    if (length > max_payload_bytes_ || length > size_ - at - kHeaderBytes) return std::nullopt;
    ASSIGN_OR_RETURN(const absl::string_view record, Bytes(at, kHeaderBytes + length));
    if (record.size() < kHeaderBytes + length) return std::nullopt;  // cut off since it was opened
    const absl::string_view payload = record.substr(kHeaderBytes);
    if (record.substr(0, kHeaderBytes) != Header({payload})) return std::nullopt;
    return payload;
  }

  // Where the next record begins after what stands at `at` and is none: behind the length that it claims, or else
  // wherever 16 hex digits are the digest of what follows. size(): there is none.
  absl::StatusOr<uint64_t> NextRecord(uint64_t at) {
    ASSIGN_OR_RETURN(const absl::string_view header, Bytes(at, kHeaderBytes));
    if (header.size() == kHeaderBytes) {
      const uint64_t claimed = at + kHeaderBytes + PayloadBytes(header);
      if (claimed < size_) {
        ASSIGN_OR_RETURN(const std::optional<absl::string_view> next, RecordAt(claimed));
        if (next.has_value()) return claimed;
      }
    }
    size_t digits = 0;
    for (uint64_t i = at + kLengthBytes + 1; i < size_; ++i) {
      ASSIGN_OR_RETURN(const absl::string_view byte, Bytes(i, 1));
      digits = !byte.empty() && absl::ascii_isxdigit(static_cast<unsigned char>(byte[0])) ? digits + 1 : 0;
      if (digits < kDigestBytes) continue;
      ASSIGN_OR_RETURN(const std::optional<absl::string_view> next, RecordAt(i + 1 - kHeaderBytes));
      if (next.has_value()) return i + 1 - kHeaderBytes;
    }
    return size_;
  }

  // Whether what stands at `at` may be the beginning of a record whose end was not written.
  absl::StatusOr<bool> MayBeTorn(uint64_t at) {
    ASSIGN_OR_RETURN(const absl::string_view header, Bytes(at, kHeaderBytes));
    if (header.size() < kHeaderBytes) return true;
    const size_t length = PayloadBytes(header);
    return length <= max_payload_bytes_ && length > size_ - at - kHeaderBytes;
  }

 private:
  SegmentReader(const SegmentStore& segments, uint64_t segment, uint64_t size, size_t max_payload_bytes)
      : segments_(&segments), segment_(segment), size_(size), max_payload_bytes_(max_payload_bytes) {}

  // The next `count` bytes from `at` on, or as many as there are.
  absl::StatusOr<absl::string_view> Bytes(uint64_t at, size_t count) {
    count = static_cast<size_t>(std::min<uint64_t>(count, size_ - std::min(at, size_)));
    if (at < begin_ || at + count > begin_ + buffer_.size()) {
      buffer_.resize(static_cast<size_t>(std::min<uint64_t>(std::max(count, kReadBytes), size_ - std::min(at, size_))));
      begin_ = at;
      ASSIGN_OR_RETURN(const size_t read, segments_->Read(segment_, at, std::span(buffer_.data(), buffer_.size())));
      buffer_.resize(read);
    }
    return absl::string_view(buffer_).substr(static_cast<size_t>(at - begin_), count);
  }

  const SegmentStore* segments_;
  uint64_t segment_;
  uint64_t size_;
  size_t max_payload_bytes_;
  uint64_t begin_ = 0;
  std::string buffer_;  // of the segment, from begin_ on
};

absl::Status ReplaySegment(const SegmentStore& segments, uint64_t segment, size_t max_payload_bytes,
                           const std::function<void(absl::string_view)>& use) {
  ASSIGN_OR_RETURN(SegmentReader reader, SegmentReader::Open(segments, segment, max_payload_bytes));
  uint64_t at = 0, damaged_bytes = 0, first_damage = 0;
  while (at < reader.size()) {
    ASSIGN_OR_RETURN(const std::optional<absl::string_view> payload, reader.RecordAt(at));
    if (payload.has_value()) {
      at += kHeaderBytes + payload->size();
      use(*payload);
      continue;
    }
    ASSIGN_OR_RETURN(const uint64_t next, reader.NextRecord(at));
    ASSIGN_OR_RETURN(const bool torn, reader.MayBeTorn(at));
    if (next == reader.size() && torn) break;
    if (damaged_bytes == 0) first_damage = at;
    damaged_bytes += next - at;
    at = next;
  }
  const std::string name = segments.Name(segment);
  if (at < reader.size()) {
    TACTUS_LOG(WARNING) << name << ": the last " << reader.size() - at << " of " << reader.size()
                        << " bytes are no complete record and were left out";
  }
  if (damaged_bytes == 0) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::string aside, segments.KeepAside(segment));
  TACTUS_LOG(WARNING) << name << ": " << damaged_bytes << " of " << reader.size()
                      << " bytes are damaged and were passed over, the first is byte " << first_damage << "; " << aside
                      << " is the segment as it is";
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<SubmissionLog>> SubmissionLog::Open(std::unique_ptr<SegmentStore> segments,
                                                                   uint64_t segment_bytes, uint64_t first_segment) {
  ASSIGN_OR_RETURN(const std::vector<uint64_t> there, segments->List());
  const bool has_records = std::any_of(there.begin(), there.end(),
                                       [&](uint64_t segment) { return segments->Size(segment).value_or(0) > 0; });
  const uint64_t last = std::max(there.empty() ? 0 : there.back(), std::max<uint64_t>(first_segment, 1) - 1);
  auto log = absl::WrapUnique(new SubmissionLog(std::move(segments), segment_bytes, last, has_records));
  absl::MutexLock lock(&log->mu_);
  RETURN_IF_ERROR(log->BeginSegment());
  return log;
}

SubmissionLog::SubmissionLog(std::unique_ptr<SegmentStore> segments, uint64_t segment_bytes, uint64_t last_segment,
                             bool has_earlier_records)
    : segments_(std::move(segments)),
      segment_bytes_(segment_bytes),
      earlier_segments_(last_segment),
      has_earlier_records_(has_earlier_records),
      segment_(last_segment) {}

SubmissionLog::~SubmissionLog() = default;

absl::Status SubmissionLog::BeginSegment() {
  open_ = false;
  written_bytes_ = 0;
  RETURN_IF_ERROR(segments_->Create(++segment_));
  open_ = true;
  return absl::OkStatus();
}

absl::Status SubmissionLog::Append(std::span<const Payload> payloads) {
  std::vector<std::string> headers;
  std::vector<absl::string_view> pieces;
  headers.reserve(payloads.size());
  uint64_t bytes = 0;
  for (const Payload& payload : payloads) {
    pieces.push_back(headers.emplace_back(Header(payload)));
    pieces.insert(pieces.end(), payload.begin(), payload.end());
  }
  for (const absl::string_view piece : pieces) bytes += piece.size();
  absl::MutexLock lock(&mu_);
  const bool full = written_bytes_ > 0 && written_bytes_ + bytes > segment_bytes_;
  if (!open_ || full) RETURN_IF_ERROR(BeginSegment());
  written_bytes_ += bytes;
  absl::Status status = segments_->Write(pieces);
  if (status.ok()) status = segments_->Sync();
  if (!status.ok()) {
    segments_->Close();
    open_ = false;
  }
  return status;
}

absl::StatusOr<uint64_t> SubmissionLog::StartSegment() {
  absl::MutexLock lock(&mu_);
  RETURN_IF_ERROR(BeginSegment());
  return segment_;
}

absl::Status SubmissionLog::RemoveBefore(uint64_t segment) {
  ASSIGN_OR_RETURN(std::vector<uint64_t> segments, segments_->List());
  std::erase_if(segments, [segment](uint64_t old) { return old >= segment; });
  return segments_->Remove(segments);
}

absl::Status SubmissionLog::Replay(uint64_t first_segment, size_t max_payload_bytes,
                                   const std::function<void(absl::string_view)>& use) const {
  ASSIGN_OR_RETURN(const std::vector<uint64_t> segments, segments_->List());
  for (const uint64_t segment : segments) {
    if (segment < first_segment || segment > earlier_segments_) continue;
    RETURN_IF_ERROR(ReplaySegment(*segments_, segment, max_payload_bytes, use));
  }
  return absl::OkStatus();
}

}  // namespace tactus
