// Numbers as people and models write them in answers, read exactly. Thread-safe.
#pragma once

#include <gmpxx.h>

#include <optional>

#include "absl/strings/string_view.h"

namespace tactus {

inline constexpr size_t kMaxNumberBytes = 200;

struct Number {
  mpq_class value;
  bool decimal = false;  // written with a decimal point, and so perhaps rounded
  bool percent = false;  // value is what stands before the sign
};

// One number and nothing that changes it:
//   "42" "-3.50" "+7" ".5" "12,5"     "1,234,567" "9{,}500" "1\,000" "9 500" (groups of three)
//   "3/4" "-1 / 2" "\frac{3}{4}" "\frac12" "\dfrac" "\tfrac" "\cfrac" "{1 \over 2}"     "1\frac{1}{2}" (one and a half)
//   "1.5 \times 10^{3}" "10^3"     U+2212 for -, U+00D7 or "*" for \times
// dressed as answers are (answer_dress.h), in braces or brackets, behind "x =" or "\approx" (what is behind the last
// equality sign counts), with a currency sign, in per cent ("50%", "50\%", "50 percent"), in degrees, with a unit
// ("18\text{ cm}^2", "18 dollars", "18 km/h"), with one of . , ; after it. A unit is not looked at, but a word that
// changes the number
// ("18 million", "18 or 19", "2 pi") is none. None: anything else, arithmetic left to do ("2+3", "2^{10}"), a zero
// denominator, or more than kMaxNumberBytes.
std::optional<Number> ParseNumber(absl::string_view text);

// Whether two writings are of one number: exactly; or, where one is a decimal fraction and neither is whole, rounded to
// six places (1/3 is 0.333333). A number in per cent is read as it stands and as its hundredth: 50% is 50 and 0.5.
bool SameNumber(const Number& a, const Number& b);

}  // namespace tactus
