// Names of files and folders in other places than this machine's disks. Thread-safe: values, no I/O.
//
//   s3://BUCKET/KEY      Amazon's S3, or what speaks as it does
//   gs://BUCKET/KEY      Google's Cloud Storage; gs://anonymous@BUCKET/KEY, as nobody
//   hf://ORG/NAME@REV    a model of the Hugging Face hub; @REV may be missing, and /FILE or /FOLDER may follow
//   hf://datasets/ORG/NAME@REV/FOLDER
//   file:///PATH         this machine's disk
//
// Behind "?" may stand what a store needs to be told: s3 takes endpoint_override=HOST:PORT, scheme=http and
// region=NAME, gs the first two. A "*" in the last part stands for any characters of a name.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tactus {

struct StorageUri {
  std::string scheme;  // "s3", "gs", "hf" or "file"
  std::string path;    // "bucket/key", "org/name@rev/folder", "/folder"; no "/" at its end
  std::string query;   // without "?"; may be empty

  // InvalidArgument: no URI of these schemes, one without a bucket or a name, or with a password in it: configurations
  // are written down and logged.
  static absl::StatusOr<StorageUri> Parse(absl::string_view text);

  StorageUri operator/(absl::string_view name) const;
  std::string Text() const;  // what Parse reads
  std::string Name() const;  // without its query, for people
  std::string Last() const;  // the last part of its path, without @REV

  bool operator==(const StorageUri&) const = default;
};

// Whether all parts of a path are names: it leads nowhere but down. What a store lists is not to be trusted.
bool LeadsDown(absl::string_view path);

// Whether a path is such a URI, well-formed or not: it has "://" behind a word.
bool IsUri(absl::string_view path);

}  // namespace tactus
