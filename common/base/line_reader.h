// Lines of a text, one at a time and bounded: a line of any length costs no more memory than the limit, and the lines
// after it can still be read.
#pragma once

#include <cstdint>
#include <istream>
#include <string>

#include "absl/status/statusor.h"

namespace tactus {

// Lines end in LF; a CR before it is part of the line. Not thread-safe; blocks on `in`, which must outlive it.
class LineReader {
 public:
  LineReader(std::istream& in, size_t max_bytes) : in_(in), max_bytes_(max_bytes) {}

  // The next line; false at the end. The rest of one that is too long is read by the next call. Unavailable: the input
  // failed.
  absl::StatusOr<bool> Next();

  // The line read last, without its line break, until the next Next; empty when it is too long.
  std::string& text() { return text_; }
  const std::string& text() const { return text_; }
  int64_t number() const { return number_; }  // 1 for the first
  uint64_t begin() const { return begin_; }   // bytes of the input before it
  bool too_long() const { return too_long_; }
  bool torn() const { return torn_; }  // the input ended before the line did; not known of one that is too long

 private:
  // Up to the line's end or the first byte over the limit.
  absl::StatusOr<bool> ReadPieces();

  std::istream& in_;
  const size_t max_bytes_;
  int64_t number_ = 0;
  uint64_t begin_ = 0, read_ = 0;
  std::string text_;
  bool too_long_ = false, torn_ = false;
  bool unfinished_ = false;  // the rest of the line is still to be read
};

}  // namespace tactus
