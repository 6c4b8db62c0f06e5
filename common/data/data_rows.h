// The rows of data sets that somebody else made, as JSON objects, whatever the files' format is. Thread-safe; blocking
// reads. Never throws.
#pragma once

#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/json_field.h"
#include "common/base/strict_json.h"

namespace tactus {

// Of one row, whatever its format.
inline constexpr JsonLimits kRowLimits = {
    .max_bytes = size_t{4} << 20, .max_depth = 16, .max_values = size_t{1} << 20, .max_string = size_t{4} << 20};

// The files of a data path, in alphabetical order: of a folder those that end in .jsonl or .parquet, of a pattern,
// whose last part holds *, ? or [, those that it matches, of anything else the path itself. Of a URI they are those of
// its local copy (local_copy.h), which is made first. NotFound: there are none; or errors of LocalDataPath.
absl::StatusOr<std::vector<std::string>> DataFiles(const std::string& path_or_uri);

// Hands over the rows of DataFiles(path) in order: Parquet where a name ends in .parquet (parquet_rows.h), JSON lines
// (json_lines.h) otherwise. A row's source is "train.jsonl:3", its line, or "train.parquet:3", its number from 1.
// `fields` are paths as FieldAt takes them: of Parquet no other columns are read; empty: all of a row is wanted.
// Memory does not grow with the files. InvalidArgument names the file, and the row where it is one's; NotFound: no such
// file; or what `use` returned.
absl::Status ForEachRow(const std::string& path, const std::vector<std::string>& fields,
                        absl::FunctionRef<absl::Status(const JsonField&)> use);

// The value at a path, "reward_model.ground_truth" for a member of a member. InvalidArgument: the row has none.
absl::StatusOr<JsonField> FieldAt(const JsonField& row, absl::string_view path);

// The row without the value at a path that FieldAt has found.
nlohmann::json WithoutField(const JsonField& row, absl::string_view path);

}  // namespace tactus
