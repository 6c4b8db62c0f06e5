// Arithmetic written as text, read by a parser of our own and evaluated exactly: never eval, never floating point.
//
// Grammar, over digits, + - * / ( ), the signs U+00D7, U+00F7, U+2212 for * / -, and white space of any kind:
//   text := sum [ "=" ["-"] digits ]      sum := product { ("+"|"-") product }
//   product := factor { ("*"|"/") factor }      factor := digits | "(" sum ")"
// So there is no unary minus, exponent, "//" or decimal point. The limits on length and depth bound time and memory:
// 200 characters of rational arithmetic stay below a few thousand bits.
#pragma once

#include <gmpxx.h>

#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tactus {

struct Expression {
  std::vector<mpz_class> numbers;   // the literals in order, without the one after "="
  std::optional<mpq_class> value;   // none: a division by zero
  std::optional<mpz_class> stated;  // the number after "="
};

inline constexpr int kMaxExpressionCharacters = 200;  // Unicode characters, not bytes
inline constexpr int kMaxExpressionDepth = 50;        // parentheses inside each other

// InvalidArgument, whose message is the reason in one word: "too_long", "bad_character" (bytes that are no UTF-8
// included), "too_deep" or "syntax_error". Thread-safe.
absl::StatusOr<Expression> ParseExpression(absl::string_view text);

}  // namespace tactus
