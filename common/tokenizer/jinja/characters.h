// What Python's str knows of characters. The texts given must be valid UTF-8. Thread-safe: constant after start.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace tactus::jinja {

// str.isspace() of one character, which is also what strip() takes off and split() splits at.
bool IsPythonSpace(uint32_t code_point);
bool IsPrintable(uint32_t code_point);  // repr() shows it as it is
bool IsLetter(uint32_t code_point);
bool IsDecimal(uint32_t code_point);     // a digit of some script, 0 to 9
bool IsDigit(uint32_t code_point);       // that, or a superscript and its like
bool IsNumberSign(uint32_t code_point);  // that, or a fraction, a Roman numeral and their like
bool IsUpper(uint32_t code_point);
bool IsLower(uint32_t code_point);

// strip(), lstrip() and rstrip() of white space.
absl::string_view StripSpace(absl::string_view text, bool left, bool right);

std::string Upper(absl::string_view text);
std::string Lower(absl::string_view text);
std::string Title(absl::string_view text);
std::string Capitalize(absl::string_view text);
std::string SwapCase(absl::string_view text);

uint32_t CodePointOf(absl::string_view scalar);
size_t CountScalars(absl::string_view text);
// Where the scalar of this index begins; the end of the text for one behind it.
size_t ScalarOffset(absl::string_view text, size_t index);
// Scalar by scalar, each as the bytes it has.
std::vector<absl::string_view> Scalars(absl::string_view text);
// str.splitlines().
std::vector<absl::string_view> SplitLines(absl::string_view text, bool keep_ends);

}  // namespace tactus::jinja
