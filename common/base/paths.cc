#include "common/base/paths.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <set>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"

namespace tactus {
namespace {

namespace fs = std::filesystem;

constexpr int kMaxKept = 9;

absl::Status Failed(const char* what, const std::string& path, const std::error_code& error) {
  return absl::ErrnoToStatus(error.value(), absl::StrCat("cannot ", what, " ", path));
}

// A second link to a file, or a copy on a disk that has no links.
std::error_code LinkOrCopy(const std::string& from, const std::string& to) {
  std::error_code error;
  fs::create_hard_link(from, to, error);
  if (error == std::errc::operation_not_permitted || error == std::errc::operation_not_supported ||
      error == std::errc::function_not_supported || error == std::errc::too_many_links) {
    fs::copy_file(from, to, error);
  }
  return error;
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

absl::Status RemoveFolder(const std::string& path) {
  std::error_code error;
  fs::remove_all(path, error);
  return error ? Failed("remove", path, error) : absl::OkStatus();
}

absl::Status LinkFolder(const std::string& from, const std::string& to) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, ListFilesBelow(from));
  RETURN_IF_ERROR(RemoveFolder(to));
  RETURN_IF_ERROR(MakeFolders(to));
  std::set<std::string> folders = {to};
  for (const std::string& name : names) {
    const std::string target = absl::StrCat(to, "/", name), folder = fs::path(target).parent_path().string();
    if (folders.insert(folder).second) RETURN_IF_ERROR(MakeFolders(folder));
    const std::error_code error = LinkOrCopy(absl::StrCat(from, "/", name), target);
    if (error) return Failed("link", target, error);
    RETURN_IF_ERROR(SyncPath(target));
  }
  for (const std::string& folder : folders) RETURN_IF_ERROR(SyncPath(folder));
  return absl::OkStatus();
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
    error = LinkOrCopy(path, aside);
    if (!error) return aside;
    if (error != std::errc::file_exists) return Failed("keep aside", path, error);
  }
  return absl::ResourceExhaustedError(
      absl::StrCat(path, " is damaged and was not kept: ", path, ".damaged to .damaged-", kMaxKept, " are taken"));
}

}  // namespace tactus
