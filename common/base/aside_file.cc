#include "common/base/aside_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <utility>
#include <vector>

#include "absl/memory/memory.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "common/base/file.h"
#include "common/base/paths.h"
#include "common/base/status_macros.h"

namespace tactus {
namespace {

struct Scratch {
  std::string name;
  int fd = -1;
};

absl::StatusOr<Scratch> MakeScratch() {
  const char* const folder = std::getenv("TMPDIR");
  Scratch scratch{.name = absl::StrCat(folder == nullptr || *folder == '\0' ? "/tmp" : folder, "/tactus-XXXXXX")};
  scratch.fd = ::mkostemp(scratch.name.data(), O_CLOEXEC);
  if (scratch.fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot create a temporary file ", scratch.name));
  return scratch;
}

}  // namespace

AsideFile::AsideFile(std::string path, std::string aside)
    : path_(std::move(path)), aside_(std::move(aside)), out_(aside_, std::ios::binary | std::ios::trunc) {}

AsideFile::~AsideFile() {
  if (!published_) ::unlink(aside_.c_str());
}

absl::StatusOr<std::unique_ptr<AsideFile>> AsideFile::Create(const std::string& path) {
  struct stat info {};
  const bool there = ::stat(path.c_str(), &info) == 0;
  if (there && !S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat("cannot write ", path, ": expected a regular file or a new name"));
  }
  std::string target = path;
  if (char* const real = there ? ::realpath(path.c_str(), nullptr) : nullptr; real != nullptr) {
    target = real;
    std::free(real);
  }
  const std::string aside = absl::StrCat(target, ".", ::getpid(), ".tmp");
  const int fd = ::open(aside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot write ", path, ": cannot create ", aside));
  if (there) ::fchmod(fd, info.st_mode & 07777);
  ::close(fd);
  return absl::WrapUnique(new AsideFile(std::move(target), aside));
}

void AsideFile::RemoveLeftovers(const std::string& path) {
  const std::filesystem::path whole(path);
  const std::string folder = whole.has_parent_path() ? whole.parent_path().string() : ".";
  const absl::StatusOr<std::vector<std::string>> names = ListFolder(folder);
  if (!names.ok()) return;
  for (const std::string& name : *names) {
    absl::string_view middle = name;
    uint32_t process = 0;
    const bool aside = absl::ConsumePrefix(&middle, absl::StrCat(whole.filename().string(), ".")) &&
                       absl::ConsumeSuffix(&middle, ".tmp") && absl::SimpleAtoi(middle, &process);
    if (aside) ::unlink(absl::StrCat(folder, "/", name).c_str());
  }
}

absl::Status AsideFile::Publish() {
  out_.close();
  if (!out_) return absl::UnavailableError(absl::StrCat("cannot write ", path_, ": is the disk full?"));
  RETURN_IF_ERROR(SyncPath(aside_));
  RETURN_IF_ERROR(PublishFolder(aside_, path_));
  published_ = true;
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<std::fstream>> OpenScratchFile() {
  ASSIGN_OR_RETURN(const Scratch scratch, MakeScratch());
  auto file = std::make_unique<std::fstream>(scratch.name, std::ios::in | std::ios::out | std::ios::binary);
  ::close(scratch.fd);
  ::unlink(scratch.name.c_str());
  if (!*file) return absl::UnavailableError(absl::StrCat("cannot open the temporary file ", scratch.name));
  return file;
}

absl::StatusOr<int> OpenScratchDescriptor() {
  ASSIGN_OR_RETURN(const Scratch scratch, MakeScratch());
  ::unlink(scratch.name.c_str());
  return scratch.fd;
}

}  // namespace tactus
