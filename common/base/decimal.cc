#include "common/base/decimal.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace tactus {

absl::StatusOr<Decimal> Decimal::ParseShare(absl::string_view text, absl::string_view source) {
  const auto error = [&] {
    return absl::InvalidArgumentError(absl::StrCat(source, " is \"", text,
                                                   "\", expected a decimal from 0 to 1 with at ", "most ", kMaxDigits,
                                                   " digits after the point, such as \"0.4\"."));
  };
  int64_t numerator = 0, denominator = 1;
  int digits = 0;
  bool after_point = false;
  for (const char c : text) {
    if (c == '.' && !after_point) {
      after_point = true;
      continue;
    }
    if (!absl::ascii_isdigit(static_cast<unsigned char>(c))) return error();
    ++digits;
    numerator = numerator * 10 + (c - '0');
    if (after_point) denominator *= 10;
    // Also stops a long number before it overflows: at most 10^10 here.
    if (numerator > denominator || denominator > 1'000'000'000) return error();
  }
  if (digits == 0) return error();
  return Decimal(numerator, denominator);
}

}  // namespace tactus
