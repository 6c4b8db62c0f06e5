// Files that are hashed while they are written, so that nobody has to read them again. Blocking.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/sha256.h"

namespace tactus {

struct FileDigest {
  uint64_t bytes = 0;
  std::string sha256_hex;
  bool operator==(const FileDigest&) const = default;
};
using FileDigests = std::map<std::string, FileDigest>;  // by the file's name in some folder

FileDigest DigestOf(absl::string_view content);

// A new file, or an old one emptied. Not atomic: the caller writes into a folder that is renamed when complete. Owned
// by one thread. Errors name the path (ResourceExhausted: the disk is full); after one, and without Close, what is
// there is worth nothing.
class HashedFile {
 public:
  static absl::StatusOr<HashedFile> Create(const std::string& path);
  ~HashedFile();
  HashedFile(HashedFile&& other) noexcept;
  HashedFile& operator=(HashedFile&&) = delete;

  absl::Status Write(absl::string_view bytes);
  // Syncs. Once.
  absl::StatusOr<FileDigest> Close();

 private:
  HashedFile(std::string path, int fd);

  std::string path_;
  int fd_;
  uint64_t bytes_ = 0;
  std::unique_ptr<Sha256> hash_;
};

}  // namespace tactus
