// Whole-file reads and writes that are either complete or invisible. Blocking; thread-safe.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tactus {

// NotFound, InvalidArgument: no regular file, ResourceExhausted: larger than max_bytes; each names the path.
absl::StatusOr<std::string> ReadFile(const std::string& path, size_t max_bytes = size_t{1} << 30);

// Writes path.tmp, syncs it, renames it over `path` and syncs the folder: a reader sees the old content or the new.
// InvalidArgument: something else than a regular file stands there, such as a device.
absl::Status WriteFileAtomic(const std::string& path, absl::string_view content);

// Makes a file's or folder's content durable.
absl::Status SyncPath(const std::string& path);

// Renames a finished folder into place and syncs its parent.
absl::Status PublishFolder(const std::string& from, const std::string& to);

}  // namespace tactus
