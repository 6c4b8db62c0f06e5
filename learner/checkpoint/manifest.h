// The list of a checkpoint's files with their sizes and hashes, and its check. Blocking file I/O; thread-safe.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "common/base/hashed_file.h"

namespace tactus {

// Writes manifest.json and manifest.json.sha256 of `files`, named from `path` on, there; synced.
absl::Status WriteManifest(const std::string& path, const FileDigests& files);

// InvalidArgument or DataLoss naming the first file that is missing or differs. Files that the manifest does not list
// are ignored.
absl::Status VerifyManifest(const std::string& path);

}  // namespace tactus
