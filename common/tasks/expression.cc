#include "common/tasks/expression.h"

#include <string>
#include <utility>

#include "common/base/status_macros.h"
#include "common/tasks/text_scan.h"

namespace tactus {
namespace {

absl::Status Malformed(absl::string_view reason) { return absl::InvalidArgumentError(reason); }

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// The text in ASCII without its white space; a space between two digits stays, so that "1 2" is not read as 12.
absl::StatusOr<std::string> Normalise(absl::string_view text) {
  constexpr std::pair<absl::string_view, char> kSigns[] = {{"\xC3\x97", '*'}, {"\xC3\xB7", '/'}, {"\xE2\x88\x92", '-'}};
  constexpr absl::string_view kAllowed = "0123456789+-*/()= ";
  size_t characters = 0;
  for (const char c : text) characters += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  if (characters > kMaxExpressionCharacters || text.size() > 4 * kMaxExpressionCharacters) return Malformed("too_long");
  std::string ascii;
  while (!text.empty()) {
    char c = text.front();
    size_t size = 1;
    for (const auto& [bytes, sign] : kSigns) {
      if (text.substr(0, bytes.size()) != bytes) continue;
      c = sign;
      size = bytes.size();
    }
    if (const size_t bytes = LeadingSpaceBytes(text)) {
      c = ' ';
      size = bytes;
    }
    if (kAllowed.find(c) == absl::string_view::npos) return Malformed("bad_character");
    if (c != ' ' || (!ascii.empty() && IsDigit(ascii.back()))) ascii.push_back(c);
    text.remove_prefix(size);
    // A space kept after a digit is dropped again as soon as something else than a digit follows.
    if (ascii.size() >= 2 && ascii[ascii.size() - 2] == ' ' && !IsDigit(ascii.back())) {
      ascii.erase(ascii.size() - 2, 1);
    }
  }
  if (!ascii.empty() && ascii.back() == ' ') ascii.pop_back();
  return ascii;
}

// Recursive descent; recursion happens at "(" only and is bounded by kMaxExpressionDepth.
class Parser {
 public:
  explicit Parser(absl::string_view text) : rest_(text) {}

  absl::StatusOr<Expression> Parse() {
    ASSIGN_OR_RETURN(out_.value, Sum());
    if (Take('=')) {
      const bool negative = Take('-');
      ASSIGN_OR_RETURN(mpz_class stated, Digits());
      out_.stated = negative ? mpz_class(-stated) : stated;
    }
    if (!rest_.empty()) return Malformed("syntax_error");
    return std::move(out_);
  }

 private:
  using Value = std::optional<mpq_class>;  // none: undefined, a division by zero inside

  bool Take(char c) {
    if (rest_.empty() || rest_.front() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }

  absl::StatusOr<mpz_class> Digits() {
    size_t size = 0;
    while (size < rest_.size() && IsDigit(rest_[size])) ++size;
    if (size == 0) return Malformed("syntax_error");
    mpz_class number(std::string(rest_.substr(0, size)), 10);
    rest_.remove_prefix(size);
    return number;
  }

  absl::StatusOr<Value> Factor() {
    if (!Take('(')) {
      ASSIGN_OR_RETURN(mpz_class number, Digits());
      out_.numbers.push_back(number);
      return Value(mpq_class(number));
    }
    if (++depth_ > kMaxExpressionDepth) return Malformed("too_deep");
    ASSIGN_OR_RETURN(Value value, Sum());
    if (!Take(')')) return Malformed("syntax_error");
    --depth_;
    return value;
  }

  absl::StatusOr<Value> Product() {
    ASSIGN_OR_RETURN(Value left, Factor());
    while (true) {
      const bool multiply = Take('*');
      if (!multiply && !Take('/')) return left;
      ASSIGN_OR_RETURN(const Value right, Factor());
      if (!left || !right || (!multiply && *right == 0)) {
        left.reset();
      } else if (multiply) {
        *left *= *right;
      } else {
        *left /= *right;
      }
    }
  }

  absl::StatusOr<Value> Sum() {
    ASSIGN_OR_RETURN(Value left, Product());
    while (true) {
      const bool add = Take('+');
      if (!add && !Take('-')) return left;
      ASSIGN_OR_RETURN(const Value right, Product());
      if (!left || !right) {
        left.reset();
      } else if (add) {
        *left += *right;
      } else {
        *left -= *right;
      }
    }
  }

  absl::string_view rest_;
  int depth_ = 0;
  Expression out_;
};

}  // namespace

absl::StatusOr<Expression> ParseExpression(absl::string_view text) {
  ASSIGN_OR_RETURN(const std::string ascii, Normalise(text));
  return Parser(ascii).Parse();
}

}  // namespace tactus
