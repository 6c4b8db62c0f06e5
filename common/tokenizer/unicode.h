// The character classes and the normal form C that Hugging Face `tokenizers` uses.
//
// Its parts follow three versions of Unicode, none of which is that of PCRE2 or of a system library, so the tables are
// our own, read off the reference by scripts/goldens/tokenizer_tables.py. Thread-safe: constant after start.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "absl/strings/string_view.h"

namespace tactus {

struct CodePointRange {
  uint32_t first, last;  // both inside
};

// A class of a splitting regex.
struct RegexClass {
  absl::string_view name, negation;  // as they are written: \p{L}, \P{L}
  std::span<const CodePointRange> ranges;
};
std::span<const RegexClass> RegexClasses();

bool IsSpace(uint32_t code_point);
bool IsNumeric(uint32_t code_point);        // what the Digits pre-tokenizer takes for a digit
bool IsWordCharacter(uint32_t code_point);  // \w, beside a single_word added token

// Unicode normalization form C (UAX #15) of valid UTF-8. Time n log n.
std::string NormalizeNfc(absl::string_view text);

}  // namespace tactus
