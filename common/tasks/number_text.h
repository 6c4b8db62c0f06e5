// Numbers as people and models write them in answers, read exactly. Thread-safe.
#pragma once

#include <gmpxx.h>

#include <optional>

#include "absl/strings/string_view.h"

namespace tactus {

inline constexpr size_t kMaxNumberBytes = 200;

// "42", "-3.50", "+7", ".5", "1,234,567" (commas only between groups of three), "3/4", "-1 / 2", "\frac{3}{4}" (also
// \dfrac and \tfrac); U+2212 as minus; one "$" before it, one "." or "%" after it (50% is read as 50). None: anything
// else, a zero denominator, or more than kMaxNumberBytes.
std::optional<mpq_class> ParseNumber(absl::string_view text);

}  // namespace tactus
