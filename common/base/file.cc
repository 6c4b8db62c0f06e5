#include "common/base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "common/base/file_calls.h"
#include "common/base/status_macros.h"

namespace tactus {
absl::StatusOr<std::string> ReadFile(const std::string& path, size_t max_bytes) {
  // A named pipe would be waited for; regular files know no such wait.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return FromErrno("cannot open", path);
  const auto closer = absl::MakeCleanup([fd] { ::close(fd); });
  struct stat info;
  if (::fstat(fd, &info) != 0) return FromErrno("cannot stat", path);
  if (!S_ISREG(info.st_mode)) return absl::InvalidArgumentError(absl::StrCat(path, " is not a regular file"));
  if (static_cast<size_t>(info.st_size) > max_bytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat(path, " has ", info.st_size, " bytes, more than the limit of ", max_bytes));
  }
  std::string content(static_cast<size_t>(info.st_size), '\0');
  size_t done = 0;
  while (done < content.size()) {
    const ssize_t got = ::read(fd, content.data() + done, content.size() - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FromErrno("cannot read", path);
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  content.resize(done);
  return content;
}

absl::Status SyncPath(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return FromErrno("cannot open", path);
  const auto closer = absl::MakeCleanup([fd] { ::close(fd); });
  if (::fsync(fd) != 0) return FromErrno("cannot sync", path);
  return absl::OkStatus();
}

absl::Status WriteFileAtomic(const std::string& path, absl::string_view content) {
  struct stat info {};
  if (::stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) {  // a device would become a file
    return absl::InvalidArgumentError(absl::StrCat("cannot write ", path, ": expected a regular file or a new name"));
  }
  const std::string aside = absl::StrCat(path, ".tmp");
  const int fd = ::open(aside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return FromErrno("cannot create", aside);
  absl::Status status = WriteAll(fd, content, aside);
  if (status.ok() && ::fsync(fd) != 0) status = FromErrno("cannot sync", aside);
  if (::close(fd) != 0 && status.ok()) status = FromErrno("cannot close", aside);
  if (!status.ok()) {
    ::unlink(aside.c_str());
    return status;
  }
  return PublishFolder(aside, path);
}

absl::Status PublishFolder(const std::string& from, const std::string& to) {
  if (std::rename(from.c_str(), to.c_str()) != 0) return FromErrno(absl::StrCat("cannot rename ", from, " to"), to);
  const std::filesystem::path parent = std::filesystem::path(to).parent_path();
  return SyncPath(parent.empty() ? "." : parent.string());
}

}  // namespace tactus
