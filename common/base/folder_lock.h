// The sole use of a folder by one process. The kernel ends it with the process, however that ends.
#pragma once

#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tactus {

// Held for as long as this lives. Movable; for one thread.
class FolderLock {
 public:
  // Does not wait and changes nothing in the folder. Unavailable: "<folder> is in use by <whom>", which may pass;
  // `whom` says who else would take it. Other errors of the folder name it.
  static absl::StatusOr<FolderLock> Take(const std::string& folder, absl::string_view whom);

  FolderLock(FolderLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FolderLock& operator=(FolderLock&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~FolderLock();

 private:
  explicit FolderLock(int fd) : fd_(fd) {}
  int fd_;  // -1: moved away
};

}  // namespace tactus
