#include "common/base/json_lines.h"

#include <cerrno>
#include <filesystem>
#include <fstream>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace tactus {

absl::StatusOr<bool> JsonLines::Next() {
  do {
    where_ = absl::StrCat(name_, ":", ++number_);
    ASSIGN_OR_RETURN(const bool more, ReadLine());
    if (!more) return false;
  } while (absl::StripAsciiWhitespace(text_).empty());
  return true;
}

// False at the end of the input. std::getline, but bounded.
absl::StatusOr<bool> JsonLines::ReadLine() {
  text_.clear();
  char piece[1 << 14];
  while (true) {
    in_.getline(piece, sizeof piece);
    if (in_.bad()) return absl::UnavailableError(absl::StrCat(name_, " could not be read."));
    const bool more_of_it = in_.fail() && !in_.eof();  // the piece is full and no line break came
    const bool line_break = in_.good();                // counted, not stored
    text_.append(piece, static_cast<size_t>(in_.gcount()) - (line_break ? 1 : 0));
    if (text_.size() > limits_.max_bytes) {
      return absl::InvalidArgumentError(
          absl::StrCat(where_, ": expected a line of at most ", limits_.max_bytes, " bytes"));
    }
    if (!more_of_it) return line_break || !text_.empty();
    in_.clear();
  }
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

absl::Status ForEachJsonLine(const std::string& path, absl::FunctionRef<absl::Status(JsonField)> use) {
  std::error_code error;
  const uintmax_t bytes = std::filesystem::file_size(path, error);
  if (error) return absl::ErrnoToStatus(error.value(), absl::StrCat("cannot open ", path));
  if (bytes > kMaxJsonFileBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " has ", bytes, " bytes, more than the limit of ", kMaxJsonFileBytes));
  }
  std::ifstream in(path, std::ios::binary);
  if (!in) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open ", path));
  return ForEachJsonLine(in, path, use);
}

}  // namespace tactus
