// The list of a checkpoint's files with their sizes and hashes, and its check. Blocking file I/O; thread-safe.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace tactus {

// Hashes every file under `path` and writes manifest.json and manifest.json.sha256 there, synced.
absl::Status WriteManifest(const std::string& path);

// InvalidArgument or DataLoss naming the first file that is missing or differs. Files that the manifest does not list
// are ignored.
absl::Status VerifyManifest(const std::string& path);

}  // namespace tactus
