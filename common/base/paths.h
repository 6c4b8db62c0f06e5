// What stands where on a disk, and making and removing it. The overloads of std::filesystem without an error code, and
// its iterators' ++, throw where a parent is not readable, links run in a circle or a name is too long; so product code
// asks here (scripts/check/exceptions.py). Never throws; thread-safe; blocks for the disk. Errors name the path.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace tactus {

// Links are followed. False too where it cannot be told: opening or making it will say why.
bool Exists(const std::string& path);
bool IsFolder(const std::string& path);
bool IsRegularFile(const std::string& path);

// Whether anything has this name, be it a link to nothing.
bool IsTaken(const std::string& path);

// NotFound: there is none; InvalidArgument: something else stands there, such as a folder, a pipe or a device.
absl::StatusOr<uint64_t> RegularFileBytes(const std::string& path);

// Whether both exist and are one file, by whatever names.
bool SameFile(const std::string& a, const std::string& b);

// Makes a folder and those above it, where they are missing.
absl::Status MakeFolders(const std::string& path);

// OK when there is none.
absl::Status RemoveFile(const std::string& path);

// OK when there is none. A folder goes with all that is in it.
absl::Status RemoveFolder(const std::string& path);

// Makes `to` a folder of second links to all files below `from`, or of copies on a disk that has no links, each synced
// with its folder's name; what stood at `to` is replaced. The files are to be written no more. NotFound: `from` is
// gone.
absl::Status LinkFolder(const std::string& from, const std::string& to);

// The names in a folder, in alphabetical order. NotFound: no such folder.
absl::StatusOr<std::vector<std::string>> ListFolder(const std::string& path);
// The regular files in a folder and those below it, as "name" and "folder/name", in alphabetical order.
absl::StatusOr<std::vector<std::string>> ListFilesBelow(const std::string& path);

// The last part of what a path means, as a title: "b" for "a/b/" and for "." in a/b.
std::string NameOf(const std::string& path);

// Keeps what a file holds now as PATH.damaged, or PATH.damaged-2 and so on to 9 where those are taken, whatever is
// renamed over PATH or removed later: a second link to it, or a copy on a disk that has no links. Returns its name; the
// one there is when the file was kept before. ResourceExhausted: all are taken.
absl::StatusOr<std::string> KeepAside(const std::string& path);

}  // namespace tactus
