// JSON lines that somebody else wrote: one document a line, read one at a time and bounded, so that a line of any
// length costs no more memory than the limit. Lines that are blank are skipped; a line may end in CR LF, the last one
// in nothing. What one line may hold says strict_json.h.
#pragma once

#include <istream>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/json_field.h"
#include "common/base/line_reader.h"
#include "common/base/strict_json.h"

namespace tactus {

inline constexpr size_t kMaxJsonLineBytes = size_t{4} << 20;
inline constexpr size_t kMaxJsonFileBytes = size_t{1} << 38;
inline constexpr JsonLimits kJsonLineLimits = {
    .max_bytes = kMaxJsonLineBytes, .max_depth = 4, .max_values = size_t{1} << 20, .max_string = kMaxJsonLineBytes};

// Not thread-safe; blocks on `in`, which must outlive it.
class JsonLines {
 public:
  JsonLines(std::istream& in, absl::string_view name, const JsonLimits& limits = kJsonLineLimits)
      : lines_(in, limits.max_bytes), name_(name), limits_(limits) {}

  // The next line that is not blank; false at the end. InvalidArgument: it is longer than limits.max_bytes.
  // Unavailable: the input failed.
  absl::StatusOr<bool> Next();

  // The line read last, without its line break, and where it stands: "data.jsonl:3". Both until the next Next.
  std::string& text() { return lines_.text(); }
  const std::string& where() const { return where_; }
  // text() as JSON, within the limits. InvalidArgument starts with where().
  absl::StatusOr<nlohmann::json> Parse() const { return ParseJson(lines_.text(), where_, limits_); }

 private:
  LineReader lines_;
  const std::string name_;
  const JsonLimits limits_;
  std::string where_;
};

// Hands over the lines of `in`, or of a file of at most kMaxJsonFileBytes, in order. Errors of JsonLines, or what `use`
// returned; NotFound, InvalidArgument and others name a file that cannot be opened or is too large. Blocking.
absl::Status ForEachJsonLine(std::istream& in, absl::string_view name, absl::FunctionRef<absl::Status(JsonField)> use,
                             const JsonLimits& limits = kJsonLineLimits);
absl::Status ForEachJsonLine(const std::string& path, absl::FunctionRef<absl::Status(JsonField)> use,
                             const JsonLimits& limits = kJsonLineLimits);

}  // namespace tactus
