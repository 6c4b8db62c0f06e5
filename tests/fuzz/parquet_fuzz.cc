// A Parquet file. What is read of it is JSON objects within the limits, of UTF-8, and at most what the footer claims.
#include "absl/strings/match.h"
#include "common/data/data_rows.h"
#include "common/data/parquet_rows.h"
#include "tests/fuzz/fuzz.h"

namespace tactus::fuzz {

void FuzzParquetRows(absl::string_view input) {
  static InputFile* const file = new InputFile;
  file->Write(input);
  const absl::Status status = ForEachParquetRow(file->path(), {}, kRowLimits, [](const JsonField& row) {
    Require(row.value().is_object(), "a row is an object");
    Require(row.value().dump().size() <= 8 * kRowLimits.max_bytes + 64 * kRowLimits.max_values, "a row is bounded");
    return absl::OkStatus();
  });
  Require(status.ok() || absl::StrContains(status.message(), file->path()), "an error names the file");
}

}  // namespace tactus::fuzz
