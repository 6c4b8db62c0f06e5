#include "common/data/row_store.h"

#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/aside_file.h"
#include "common/base/file_calls.h"
#include "common/base/status_macros.h"

namespace tactus {
namespace {

constexpr size_t kWriteBytes = size_t{1} << 20;  // at once
constexpr char kFile[] = "the temporary file of the data's rows (TMPDIR names its folder)";

}  // namespace

RowStore::RowStore(RowStore&& other) noexcept { *this = std::move(other); }

RowStore& RowStore::operator=(RowStore&& other) noexcept {
  std::swap(memory_bytes_, other.memory_bytes_);
  std::swap(ends_, other.ends_);
  std::swap(tail_, other.tail_);
  std::swap(file_bytes_, other.file_bytes_);
  std::swap(file_, other.file_);
  return *this;
}

RowStore::~RowStore() {
  if (file_ >= 0) ::close(file_);
}

absl::Status RowStore::Append(absl::string_view row) {
  if (ends_.size() == kMaxRows) {
    return absl::InvalidArgumentError(absl::StrCat("the data has more than ", kMaxRows, " rows: expected fewer"));
  }
  tail_.append(row.data(), row.size());
  ends_.push_back(file_bytes_ + tail_.size());
  return tail_.size() > (in_memory() ? memory_bytes_ : kWriteBytes) ? Flush() : absl::OkStatus();
}

absl::Status RowStore::Flush() {
  if (in_memory()) {
    ASSIGN_OR_RETURN(file_, OpenScratchDescriptor());
  }
  RETURN_IF_ERROR(WriteAll(file_, tail_, kFile));
  file_bytes_ += tail_.size();
  tail_.clear();
  if (tail_.capacity() > 2 * kWriteBytes) tail_.shrink_to_fit();
  return absl::OkStatus();
}

absl::StatusOr<std::string> RowStore::Read(size_t row) const {
  const uint64_t begin = row == 0 ? 0 : ends_[row - 1];
  const size_t size = static_cast<size_t>(ends_[row] - begin);
  // A row is written as a whole: it is in the file or behind it.
  if (begin >= file_bytes_) return tail_.substr(static_cast<size_t>(begin - file_bytes_), size);
  std::string bytes(size, '\0');
  size_t done = 0;
  while (done < size) {
    const ssize_t read = ::pread(file_, bytes.data() + done, size - done, static_cast<off_t>(begin + done));
    if (read < 0 && errno == EINTR) continue;
    if (read < 0) return FromErrno("cannot read", kFile);
    if (read == 0) return absl::DataLossError(absl::StrCat(kFile, " is shorter than it was"));
    done += static_cast<size_t>(read);
  }
  return bytes;
}

}  // namespace tactus
