#include "common/base/line_reader.h"

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace tactus {

absl::StatusOr<bool> LineReader::Next() {
  while (unfinished_) RETURN_IF_ERROR(ReadPieces().status());
  ++number_;
  begin_ = read_;
  return ReadPieces();
}

// std::getline, but bounded.
absl::StatusOr<bool> LineReader::ReadPieces() {
  text_.clear();
  too_long_ = torn_ = unfinished_ = false;
  char piece[1 << 14];
  for (bool any = false;; in_.clear()) {
    in_.getline(piece, sizeof piece);
    if (in_.bad()) return absl::UnavailableError(absl::StrCat("line ", number_, " could not be read"));
    unfinished_ = in_.fail() && !in_.eof();  // the piece is full and no line break came
    const bool line_break = in_.good();      // counted, not stored
    read_ += static_cast<uint64_t>(in_.gcount());
    const size_t size = static_cast<size_t>(in_.gcount()) - (line_break ? 1 : 0);
    any = any || size > 0 || line_break;
    too_long_ = text_.size() + size > max_bytes_;
    if (too_long_) {
      text_ = std::string();  // gives its memory back
      if (unfinished_) in_.clear();
      return true;
    }
    text_.append(piece, size);
    if (unfinished_) continue;
    torn_ = !line_break;
    return any;
  }
}

}  // namespace tactus
