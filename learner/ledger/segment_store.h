// The numbered files of the submission log, as the log needs them: one is written, the others are read or removed. What
// it does to a disk stands behind this seam, so that tests can put a disk there that is slow, full or torn.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tactus {

// Not thread-safe, but Read, Size and KeepAside may be called beside the others for files that are not written. All
// calls block for the disk; errors name the path.
class SegmentStore {
 public:
  virtual ~SegmentStore() = default;

  // Ascending. Other files are not ours and stay untouched.
  virtual absl::StatusOr<std::vector<uint64_t>> List() const = 0;
  virtual absl::StatusOr<uint64_t> Size(uint64_t segment) const = 0;
  // Makes a file that is not there yet, durably, and writes to it from now on.
  virtual absl::Status Create(uint64_t segment) = 0;
  // Appends the pieces, in order. After an error any part of them may be in the file.
  virtual absl::Status Write(std::span<const absl::string_view> pieces) = 0;
  // All that was written is on the disk when this returns OK.
  virtual absl::Status Sync() = 0;
  virtual void Close() = 0;  // the file that is written; idempotent
  // Bytes from `offset` on into `to`; how many there were, less only at the file's end.
  virtual absl::StatusOr<size_t> Read(uint64_t segment, uint64_t offset, std::span<char> to) const = 0;
  virtual absl::Status Remove(std::span<const uint64_t> segments) = 0;  // durably
  // Keeps a copy of a damaged file beside it; returns its path.
  virtual absl::StatusOr<std::string> KeepAside(uint64_t segment) const = 0;
  virtual std::string Name(uint64_t segment) const = 0;  // for people
};

// Files group-00000001.log and so on in a folder, which is made if needed.
absl::StatusOr<std::unique_ptr<SegmentStore>> OpenSegmentFolder(const std::string& folder);

}  // namespace tactus
