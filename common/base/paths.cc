#include "common/base/paths.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace tactus {
namespace {

namespace fs = std::filesystem;

constexpr int kMaxKept = 9;

absl::Status Failed(const char* what, const std::string& path, const std::error_code& error) {
  return absl::ErrnoToStatus(error.value(), absl::StrCat("cannot ", what, " ", path));
}

}  // namespace

bool Exists(const std::string& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

bool IsFolder(const std::string& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

bool IsRegularFile(const std::string& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

bool IsTaken(const std::string& path) {
  std::error_code ignored;
  const fs::file_type type = fs::symlink_status(path, ignored).type();
  return type != fs::file_type::none && type != fs::file_type::not_found;
}

absl::StatusOr<uint64_t> RegularFileBytes(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open ", path));
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat("cannot open ", path, ": expected a regular file"));
  }
  return static_cast<uint64_t>(info.st_size);
}

bool SameFile(const std::string& a, const std::string& b) {
  std::error_code ignored;
  return fs::equivalent(a, b, ignored);
}

absl::Status MakeFolders(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  return error ? Failed("make the folder", path, error) : absl::OkStatus();
}

absl::Status RemoveFile(const std::string& path) {
  std::error_code error;
  fs::remove(path, error);
  return error ? Failed("remove", path, error) : absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> ListFolder(const std::string& path) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    names.push_back(it->path().filename().string());
  }
  if (error) return Failed("list", path, error);
  std::ranges::sort(names);
  return names;
}

absl::StatusOr<std::vector<std::string>> ListFilesBelow(const std::string& path) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::recursive_directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    if (it->is_regular_file(error)) names.push_back(it->path().string().substr(path.size() + 1));
  }
  if (error) return Failed("list", path, error);
  std::ranges::sort(names);
  return names;
}

std::string NameOf(const std::string& path) {
  std::error_code error;
  const fs::path whole = fs::absolute(path, error).lexically_normal();
  if (error) return path;
  return (whole.has_filename() ? whole : whole.parent_path()).filename().string();
}

absl::StatusOr<std::string> KeepAside(const std::string& path) {
  std::error_code error;
  for (int i = 1; i <= kMaxKept; ++i) {
    std::string aside = absl::StrCat(path, ".damaged", i == 1 ? "" : absl::StrCat("-", i));
    if (SameFile(aside, path)) return aside;
    fs::create_hard_link(path, aside, error);
    if (!error) return aside;
    if (error == std::errc::file_exists) continue;
    if (error != std::errc::operation_not_permitted && error != std::errc::operation_not_supported &&
        error != std::errc::function_not_supported && error != std::errc::too_many_links) {
      return Failed("keep aside", path, error);
    }
    fs::copy_file(path, aside, error);
    return error ? absl::StatusOr<std::string>(Failed("copy aside", path, error)) : aside;
  }
  return absl::ResourceExhaustedError(
      absl::StrCat(path, " is damaged and was not kept: ", path, ".damaged to .damaged-", kMaxKept, " are taken"));
}

}  // namespace tactus
