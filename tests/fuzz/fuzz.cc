#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "absl/strings/str_cat.h"

namespace tactus::fuzz {
namespace {

void WriteAll(int fd, absl::string_view content) {
  while (!content.empty()) {
    const ssize_t written = ::write(fd, content.data(), content.size());
    Require(written > 0, "the fuzzer's own file can be written");
    content.remove_prefix(static_cast<size_t>(written));
  }
}

}  // namespace

void Require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "fuzz: this does not hold: %s\n", what);
  std::abort();
}

std::pair<std::string, std::string> SplitAtNul(absl::string_view input) {
  const size_t nul = input.find('\0');
  if (nul == absl::string_view::npos) return {std::string(input), ""};
  return {std::string(input.substr(0, nul)), std::string(input.substr(nul + 1))};
}

InputFile::InputFile() : fd_(::memfd_create("fuzz", MFD_CLOEXEC)), path_(absl::StrCat("/proc/self/fd/", fd_)) {
  Require(fd_ >= 0, "memfd_create works");
}

void InputFile::Write(absl::string_view content) {
  Require(::ftruncate(fd_, 0) == 0 && ::lseek(fd_, 0, SEEK_SET) == 0, "the fuzzer's own file can be emptied");
  WriteAll(fd_, content);
}

InputFolder::InputFolder() : path_("/dev/shm/tactus-fuzz-XXXXXX") {
  Require(::mkdtemp(path_.data()) != nullptr, "a folder can be made in /dev/shm");
}

InputFolder::~InputFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void InputFolder::Clear() {
  std::error_code error;
  for (std::filesystem::directory_iterator it(path_, error), end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    std::filesystem::remove_all(it->path(), ignored);
  }
  Require(!error, "the fuzzer's own folder can be emptied");
}

void InputFolder::Write(absl::string_view name, absl::string_view content) {
  const int fd = ::open(absl::StrCat(path_, "/", name).c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  Require(fd >= 0, "the fuzzer's own file can be made");
  WriteAll(fd, content);
  ::close(fd);
}

}  // namespace tactus::fuzz
