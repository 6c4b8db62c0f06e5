#include "common/base/hashed_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <utility>

#include "common/base/file_calls.h"

namespace tactus {
FileDigest DigestOf(absl::string_view content) { return {content.size(), Sha256Hex(content)}; }

absl::StatusOr<HashedFile> HashedFile::Create(const std::string& path) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return FromErrno("cannot create", path);
  return HashedFile(path, fd);
}

HashedFile::HashedFile(std::string path, int fd) : path_(std::move(path)), fd_(fd), hash_(std::make_unique<Sha256>()) {}

HashedFile::HashedFile(HashedFile&& other) noexcept
    : path_(std::move(other.path_)),
      fd_(std::exchange(other.fd_, -1)),
      bytes_(other.bytes_),
      hash_(std::move(other.hash_)) {}

HashedFile::~HashedFile() {
  if (fd_ >= 0) ::close(fd_);
}

absl::Status HashedFile::Write(absl::string_view bytes) {
  hash_->Update(bytes);
  bytes_ += bytes.size();
  return WriteAll(fd_, bytes, path_);
}

absl::StatusOr<FileDigest> HashedFile::Close() {
  if (::fsync(fd_) != 0) return FromErrno("cannot sync", path_);
  if (::close(std::exchange(fd_, -1)) != 0) return FromErrno("cannot close", path_);
  return FileDigest{bytes_, hash_->FinishHex()};
}

}  // namespace tactus
