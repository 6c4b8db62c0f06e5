#include "common/data/data_rows.h"

#include <fnmatch.h>

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/json_lines.h"
#include "common/base/paths.h"
#include "common/base/status_macros.h"
#include "common/data/parquet_rows.h"
#include "common/storage/local_copy.h"

namespace tactus {
namespace {

constexpr char kParquetEnding[] = ".parquet";

}  // namespace

absl::StatusOr<std::vector<std::string>> DataFiles(const std::string& path_or_uri) {
  ASSIGN_OR_RETURN(const std::string path, LocalDataPath(path_or_uri));
  const size_t slash = path.rfind('/');
  const std::string last = slash == std::string::npos ? path : path.substr(slash + 1);
  const bool folder = IsFolder(path);
  if (!folder && (IsTaken(path) || last.find_first_of("*?[") == std::string::npos)) return std::vector{path};
  const std::string parent = folder ? path : slash == std::string::npos ? "." : path.substr(0, slash + 1);
  ASSIGN_OR_RETURN(const std::vector<std::string> names, ListFolder(parent));
  std::vector<std::string> files;
  for (const std::string& name : names) {
    const bool wanted = folder ? IsDataFile(name) : ::fnmatch(last.c_str(), name.c_str(), FNM_PERIOD) == 0;
    if (!wanted) continue;
    const bool bare = !folder && slash == std::string::npos;
    files.push_back(bare ? name : absl::StrCat(parent, absl::EndsWith(parent, "/") ? "" : "/", name));
  }
  if (!files.empty()) return files;
  return absl::NotFoundError(folder ? absl::StrCat(path, ": expected files that end in .jsonl or .parquet, found none")
                                    : absl::StrCat(path, ": expected files of such names, found none"));
}

absl::Status ForEachRow(const std::string& path, const std::vector<std::string>& fields,
                        absl::FunctionRef<absl::Status(const JsonField&)> use) {
  ASSIGN_OR_RETURN(const std::vector<std::string> files, DataFiles(path));
  for (const std::string& file : files) {
    RETURN_IF_ERROR(absl::EndsWith(file, kParquetEnding) ? ForEachParquetRow(file, fields, kRowLimits, use)
                                                         : ForEachJsonLine(file, use, kRowLimits));
  }
  return absl::OkStatus();
}

absl::StatusOr<JsonField> FieldAt(const JsonField& row, absl::string_view path) {
  JsonField field = row;
  for (const absl::string_view key : absl::StrSplit(path, '.')) {
    if (!field.value().is_object()) return field.Expected(absl::StrCat("a JSON object, with the key ", key));
    if (!field.value().contains(std::string(key))) {
      return row.Error(absl::StrCat("key \"", path, "\" is missing"));
    }
    ASSIGN_OR_RETURN(field, field.Member(key));
  }
  return field;
}

nlohmann::json WithoutField(const JsonField& row, absl::string_view path) {
  nlohmann::json rest = row.value();
  nlohmann::json* object = &rest;
  while (object->is_object()) {
    const size_t dot = path.find('.');
    const auto member = object->find(std::string(path.substr(0, dot)));
    if (member == object->end()) break;
    if (dot == absl::string_view::npos) {
      object->erase(member);
      break;
    }
    object = &*member;
    path.remove_prefix(dot + 1);
  }
  return rest;
}

}  // namespace tactus
