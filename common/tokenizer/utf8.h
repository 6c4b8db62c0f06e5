// UTF-8, scalar by scalar. Thread-safe: no state.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace tactus {

struct Scalar {
  uint32_t code_point;
  size_t length_bytes;
};

// The scalar that starts at text[at]. `text` must be valid UTF-8 and `at` the start of a scalar in it.
Scalar DecodeUtf8(absl::string_view text, size_t at);

// The scalar that ends before text[end]; text valid, end > 0 and on a boundary.
Scalar DecodeUtf8Before(absl::string_view text, size_t end);

void AppendUtf8(uint32_t code_point, std::string& out);

// The length of the longest prefix that is valid UTF-8 (no surrogates, nothing over U+10FFFF, no overlong form).
size_t ValidUtf8Prefix(absl::string_view bytes);

// Each maximal invalid part becomes one U+FFFD, as the Unicode Standard (section 3.9, "U+FFFD substitution of maximal
// subparts") and both Python's errors="replace" and Rust's from_utf8_lossy have it.
std::string ReplaceInvalidUtf8(absl::string_view bytes);

}  // namespace tactus
