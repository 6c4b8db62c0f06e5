#include "learner/checkpoint/manifest.h"

#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/file_pieces.h"
#include "common/base/json_field.h"
#include "common/base/paths.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "common/base/strict_json.h"
#include "common/storage/storage_uri.h"

namespace tactus {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kFormat = 1;
constexpr size_t kMaxManifestBytes = size_t{1} << 20;

absl::StatusOr<FileDigest> Digest(const std::string& path) {
  FileDigest digest;
  ASSIGN_OR_RETURN(digest.bytes, RegularFileBytes(path));
  Sha256 hash;
  RETURN_IF_ERROR(ForEachPiece(path, digest.bytes, [&hash](absl::string_view piece) {
    hash.Update(piece);
    return absl::OkStatus();
  }));
  digest.sha256_hex = hash.FinishHex();
  return digest;
}

std::string HashLine(absl::string_view manifest) {
  return absl::StrCat(Sha256Hex(manifest), "  ", kManifestFile, "\n");
}

absl::StatusOr<FileDigest> EntryOf(const JsonField& files, const std::string& name) {
  ASSIGN_OR_RETURN(const JsonField entry, files.Member(name));
  if (!LeadsDown(name)) return entry.Expected("the name of a file in this folder");
  FileDigest digest;
  JSON_MEMBER(digest.bytes, entry, "bytes", Unsigned());
  JSON_MEMBER(digest.sha256_hex, entry, "sha256", String());
  return digest;
}

absl::Status VerifyFile(const std::string& path, const FileDigest& expected) {
  ASSIGN_OR_RETURN(const FileDigest digest, Digest(path));
  if (digest.bytes != expected.bytes) {
    return absl::DataLossError(
        absl::StrCat(path, " has ", digest.bytes, " bytes; the checkpoint's manifest says ", expected.bytes));
  }
  if (digest.sha256_hex != expected.sha256_hex) {
    return absl::DataLossError(absl::StrCat(path, " has another SHA-256 than the checkpoint's manifest says"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status WriteManifest(const std::string& path, const FileDigests& files) {
  Json listed = Json::object();
  for (const auto& [name, digest] : files) listed[name] = {{"bytes", digest.bytes}, {"sha256", digest.sha256_hex}};
  const std::string manifest = Json({{"format", kFormat}, {"files", listed}}).dump(2) + "\n";
  RETURN_IF_ERROR(WriteFileAtomic(absl::StrCat(path, "/", kManifestFile), manifest));
  return WriteFileAtomic(absl::StrCat(path, "/", kManifestHashFile), HashLine(manifest));
}

absl::StatusOr<FileDigests> ParseManifest(absl::string_view manifest, absl::string_view hash_line,
                                          const std::string& source) {
  const std::string path = absl::StrCat(source, "/", kManifestFile);
  if (hash_line != HashLine(manifest)) {
    return absl::DataLossError(absl::StrCat(path, " does not have the SHA-256 in ", kManifestHashFile));
  }
  ASSIGN_OR_RETURN(const nlohmann::json json, ParseJson(manifest, path));
  const JsonField root(json, path);
  if (!json.is_object() || json.value("format", nlohmann::json()) != kFormat) {
    return root.Expected(absl::StrCat("format ", kFormat, " and an object of files"));
  }
  ASSIGN_OR_RETURN(const JsonField files, root.Member("files"));
  if (!files.value().is_object() || files.value().empty()) return files.Expected("an object of files");
  FileDigests listed;
  for (const auto& item : files.value().items()) {
    ASSIGN_OR_RETURN(listed[item.key()], EntryOf(files, item.key()));
  }
  return listed;
}

absl::StatusOr<FileDigests> ReadManifest(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string manifest, ReadFile(absl::StrCat(path, "/", kManifestFile), kMaxManifestBytes));
  ASSIGN_OR_RETURN(const std::string hash_line, ReadFile(absl::StrCat(path, "/", kManifestHashFile), 256));
  return ParseManifest(manifest, hash_line, path);
}

absl::Status VerifyManifest(const std::string& path) {
  ASSIGN_OR_RETURN(const FileDigests files, ReadManifest(path));
  for (const auto& [name, digest] : files) RETURN_IF_ERROR(VerifyFile(absl::StrCat(path, "/", name), digest));
  return absl::OkStatus();
}

}  // namespace tactus
