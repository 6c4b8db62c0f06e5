// Rows of a data set, kept for reading in any order: the first few MiB in memory, more than that in a file without a
// name on the disk (aside_file.h: $TMPDIR or /tmp), with 8 bytes of memory a row.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tactus {

inline constexpr size_t kRowStoreMemoryBytes = size_t{16} << 20;
// Rows are numbered by 32 bits, and each costs memory.
inline constexpr uint64_t kMaxRows = 100'000'000;

// Filled by one thread, then only read: by any number of threads. Owns its file, which goes with it. Blocks for the
// disk; the errors are the disk's and name the file's folder.
class RowStore {
 public:
  // What is kept in memory before there is a file.
  explicit RowStore(size_t memory_bytes = kRowStoreMemoryBytes) : memory_bytes_(memory_bytes) {}
  RowStore(RowStore&& other) noexcept;
  RowStore& operator=(RowStore&& other) noexcept;
  ~RowStore();

  // InvalidArgument: there are kMaxRows.
  absl::Status Append(absl::string_view row);
  // 0 <= row < size(). DataLoss: the file is shorter than it was.
  absl::StatusOr<std::string> Read(size_t row) const;

  size_t size() const { return ends_.size(); }
  bool in_memory() const { return file_ < 0; }

 private:
  absl::Status Flush();

  size_t memory_bytes_ = kRowStoreMemoryBytes;
  std::deque<uint64_t> ends_;  // of each row, in bytes from the first; a deque never copies what it holds
  std::string tail_;           // the bytes behind those of the file
  uint64_t file_bytes_ = 0;
  int file_ = -1;
};

}  // namespace tactus
