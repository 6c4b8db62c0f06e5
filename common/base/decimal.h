// A share such as "0.4" kept as an exact fraction: ⌊0.3·10⌋ is 3, which float arithmetic does not promise.
// Immutable value type, thread-safe.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tactus {

class Decimal {
 public:
  static constexpr int kMaxDigits = 9;  // after the point

  // Digits with an optional point and at most 9 digits behind it, from 0 to 1. InvalidArgument starts with `source`.
  static absl::StatusOr<Decimal> ParseShare(absl::string_view text, absl::string_view source);

  // 0.n, for defaults that stand in code; n from 0 to 10.
  static constexpr Decimal Tenths(int n) { return Decimal(n, 10); }

  int64_t numerator() const { return numerator_; }
  int64_t denominator() const { return denominator_; }  // a power of ten
  // ⌊value · n⌋, exact for 0 <= n < 2^32.
  int64_t FloorOf(int64_t n) const { return numerator_ * n / denominator_; }

 private:
  constexpr Decimal(int64_t numerator, int64_t denominator) : numerator_(numerator), denominator_(denominator) {}
  int64_t numerator_;
  int64_t denominator_;
};

}  // namespace tactus
