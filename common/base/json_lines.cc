#include "common/base/json_lines.h"

#include <cerrno>
#include <fstream>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/paths.h"
#include "common/base/status_macros.h"

namespace tactus {

absl::StatusOr<bool> JsonLines::Next() {
  do {
    const absl::StatusOr<bool> more = lines_.Next();
    where_ = absl::StrCat(name_, ":", lines_.number());
    if (!more.ok()) return absl::UnavailableError(absl::StrCat(name_, " could not be read."));
    if (!*more) return false;
    if (lines_.too_long()) {
      return absl::InvalidArgumentError(
          absl::StrCat(where_, ": expected a line of at most ", limits_.max_bytes, " bytes"));
    }
  } while (absl::StripAsciiWhitespace(WithoutByteOrderMark(lines_.text())).empty());
  return true;
}

absl::Status ForEachJsonLine(std::istream& in, absl::string_view name, absl::FunctionRef<absl::Status(JsonField)> use,
                             const JsonLimits& limits) {
  JsonLines lines(in, name, limits);
  while (true) {
    ASSIGN_OR_RETURN(const bool more, lines.Next());
    if (!more) return absl::OkStatus();
    ASSIGN_OR_RETURN(const nlohmann::json json, lines.Parse());
    RETURN_IF_ERROR(use(JsonField(json, lines.where())));
  }
}

absl::Status ForEachJsonLine(const std::string& path, absl::FunctionRef<absl::Status(JsonField)> use,
                             const JsonLimits& limits) {
  ASSIGN_OR_RETURN(const uint64_t bytes, RegularFileBytes(path));
  if (bytes > kMaxJsonFileBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " has ", bytes, " bytes, more than the limit of ", kMaxJsonFileBytes));
  }
  std::ifstream in(path, std::ios::binary);
  if (!in) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open ", path));
  return ForEachJsonLine(in, path, use, limits);
}

}  // namespace tactus
