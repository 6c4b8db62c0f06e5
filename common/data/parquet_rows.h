// Rows of Parquet files that somebody else made, as JSON. The one place that knows Arrow, whose headers stay in its
// .cc.
#pragma once

#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "common/base/json_field.h"
#include "common/base/strict_json.h"

namespace tactus {

// What decoding may take of memory at once, whatever a file claims.
inline constexpr size_t kParquetMemoryBytes = size_t{512} << 20;

// Hands over each row as the object that its JSON line would be: text, numbers, booleans, lists and structs of them; a
// null is null. Its source is "train.parquet:3", counted from 1. Of `fields`, dotted paths, only their columns are
// decoded; empty: all. Pages are read as rows are handed over, so that memory depends neither on the number of rows nor
// on the size of row groups. Thread-safe; blocking; never throws.
// InvalidArgument names the file: it is no Parquet, cut off or damaged, its pages claim more than kParquetMemoryBytes,
// no column is at a path of `fields`, or a column's type is another; a row beyond `limits` or a text that is no UTF-8
// is named, too. NotFound: no such file. Or what `use` returned.
absl::Status ForEachParquetRow(const std::string& path, const std::vector<std::string>& fields,
                               const JsonLimits& limits, absl::FunctionRef<absl::Status(const JsonField&)> use);

}  // namespace tactus
