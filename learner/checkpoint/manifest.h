// The list of a checkpoint's files with their sizes and hashes, and its check. Blocking file I/O; thread-safe.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/hashed_file.h"

namespace tactus {

inline constexpr char kManifestFile[] = "manifest.json";
inline constexpr char kManifestHashFile[] = "manifest.json.sha256";

// Writes manifest.json and manifest.json.sha256 of `files`, named from `path` on, there; synced.
absl::Status WriteManifest(const std::string& path, const FileDigests& files);

// InvalidArgument or DataLoss naming the first file that is missing or differs. Files that the manifest does not list
// are ignored.
absl::Status VerifyManifest(const std::string& path);

// The files that a manifest lists, of which there is one at least: `manifest` is what manifest.json holds, `hash_line`
// what manifest.json.sha256 does, `source` their folder. InvalidArgument or DataLoss: they are no manifest, or not of
// each other.
absl::StatusOr<FileDigests> ParseManifest(absl::string_view manifest, absl::string_view hash_line,
                                          const std::string& source);
// The same of a folder on the disk.
absl::StatusOr<FileDigests> ReadManifest(const std::string& path);

}  // namespace tactus
