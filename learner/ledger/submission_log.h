// The learner's write-ahead log of accepted groups: what makes "acknowledged" mean "durable".
//
// Segments, numbered from 1 (segment_store.h). A record is {length: 4 bytes, little-endian; the first 16 hex digits of
// the payload's SHA-256; payload}. Every opening, every snapshot and every GiB begins a new segment, so a torn record
// can only be the last of its segment, and a snapshot is "everything before segment N". What else is damaged was
// acknowledged; it is passed over, since the digests tell where the next record begins.
//
// Append blocks for the disk. Replay holds one record in memory, however large the log is. Thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "learner/ledger/segment_store.h"

namespace tactus {

class SubmissionLog {
 public:
  static constexpr uint64_t kSegmentBytes = uint64_t{1} << 30;

  // Begins a new segment, whose number is `first_segment` at least: a snapshot from another machine, whose log stayed
  // there, needs what comes from that one on. A segment with records does not grow beyond `segment_bytes`. Errors name
  // the path.
  static absl::StatusOr<std::unique_ptr<SubmissionLog>> Open(std::unique_ptr<SegmentStore> segments,
                                                             uint64_t segment_bytes = kSegmentBytes,
                                                             uint64_t first_segment = 1);
  ~SubmissionLog();
  SubmissionLog(const SubmissionLog&) = delete;
  SubmissionLog& operator=(const SubmissionLog&) = delete;

  // A payload as it lies in memory: its bytes are those of the pieces, end to end.
  using Payload = std::vector<absl::string_view>;

  // All payloads are on disk when this returns OK. After an error none of them counts, and the next Append goes to a
  // new segment. Copies no payload.
  absl::Status Append(std::span<const Payload> payloads);

  // Begins a new segment and returns its number.
  absl::StatusOr<uint64_t> StartSegment();

  // Deletes the segments before `segment`.
  absl::Status RemoveBefore(uint64_t segment);

  // Every intact record of the segments from `first_segment` on, oldest first, without those appended since Open.
  // Damaged ones are left out with a warning in the log, and a segment that has any stays beside the log (KeepAside)
  // when the log is done with it. DataLoss and others: a file cannot be read.
  absl::Status Replay(uint64_t first_segment, size_t max_payload_bytes,
                      const std::function<void(absl::string_view)>& use) const;

  // Whether there were segments with content when the log was opened.
  bool HasEarlierRecords() const { return has_earlier_records_; }

 private:
  SubmissionLog(std::unique_ptr<SegmentStore> segments, uint64_t segment_bytes, uint64_t last_segment,
                bool has_earlier_records);
  absl::Status BeginSegment() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const std::unique_ptr<SegmentStore> segments_;  // writing is guarded by mu_
  const uint64_t segment_bytes_;
  const uint64_t earlier_segments_;  // the newest segment there was at Open; 0 = none
  const bool has_earlier_records_;

  absl::Mutex mu_;
  uint64_t segment_ ABSL_GUARDED_BY(mu_);
  uint64_t written_bytes_ ABSL_GUARDED_BY(mu_) = 0;  // of segment_
  bool open_ ABSL_GUARDED_BY(mu_) = false;           // segment_ is; not after a failure
};

}  // namespace tactus
