// The learner's write-ahead log of accepted groups: what makes "acknowledged" mean "durable".
//
// A folder of segments, group-00000001.log and so on. A record is {length: 4 bytes, little-endian; the first 16 hex
// digits of the payload's SHA-256; payload}. Every opening and every snapshot begins a new segment, so a torn record
// can only be the last of its segment, and a snapshot is "everything before segment N". What else is damaged was
// acknowledged; it is passed over, since the digests tell where the next record begins.
//
// Append blocks for the disk. Thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"

namespace tactus {

class SubmissionLog {
 public:
  // Makes the folder if needed and begins a new segment. Errors name the path.
  static absl::StatusOr<std::unique_ptr<SubmissionLog>> Open(const std::string& folder);
  ~SubmissionLog();
  SubmissionLog(const SubmissionLog&) = delete;
  SubmissionLog& operator=(const SubmissionLog&) = delete;

  // All payloads are on disk when this returns OK. After an error none of them counts, and the next Append goes to a
  // new segment.
  absl::Status Append(std::span<const absl::string_view> payloads);

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
  SubmissionLog(std::string folder, uint64_t last_segment, bool has_earlier_records);
  absl::Status BeginSegment() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void CloseSegment() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const std::string folder_;
  const uint64_t earlier_segments_;  // the newest segment there was at Open; 0 = none
  const bool has_earlier_records_;

  absl::Mutex mu_;
  uint64_t segment_ ABSL_GUARDED_BY(mu_);
  int fd_ ABSL_GUARDED_BY(mu_) = -1;  // of segment_; -1 after a failure
};

}  // namespace tactus
