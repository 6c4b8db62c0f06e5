// Python's binary operators.
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/tokenizer/jinja/runtime.h"

namespace tactus::jinja {
namespace {

absl::Status TooLarge() { return TypeError("a whole number leaves 64 bits"); }
absl::Status ByZero() { return TypeError("a division by zero"); }

absl::StatusOr<Value> WholePower(int64_t base, int64_t exponent) {
  if (exponent < 0) {
    if (base == 0) return ByZero();
    return Value(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  if (base == 0 || base == 1) return Value(exponent == 0 ? int64_t{1} : base);
  if (base == -1) return Value(exponent % 2 == 0 ? int64_t{1} : int64_t{-1});
  int64_t product = 1;
  for (int64_t i = 0; i < exponent; ++i) {  // at most 64 rounds: the base is at least 2
    if (__builtin_mul_overflow(product, base, &product)) return TooLarge();
  }
  return Value(product);
}

absl::StatusOr<Value> Whole(absl::string_view op, int64_t a, int64_t b) {
  int64_t out = 0;
  if (op == "+") return __builtin_add_overflow(a, b, &out) ? absl::StatusOr<Value>(TooLarge()) : Value(out);
  if (op == "-") return __builtin_sub_overflow(a, b, &out) ? absl::StatusOr<Value>(TooLarge()) : Value(out);
  if (op == "*") return __builtin_mul_overflow(a, b, &out) ? absl::StatusOr<Value>(TooLarge()) : Value(out);
  if (op == "**") return WholePower(a, b);
  if (b == 0) return ByZero();
  if (op == "/") return Value(static_cast<double>(a) / static_cast<double>(b));
  if (b == -1) return op == "%" ? absl::StatusOr<Value>(Value(0)) : Whole("*", a, b);
  const int64_t rest = a % b;
  const bool floors = rest != 0 && (rest < 0) != (b < 0);  // towards minus infinity, as Python divides
  if (op == "//") return Value(a / b - (floors ? 1 : 0));
  return Value(floors ? rest + b : rest);
}

absl::StatusOr<Value> Real(absl::string_view op, double a, double b) {
  if (op == "+") return Value(a + b);
  if (op == "-") return Value(a - b);
  if (op == "*") return Value(a * b);
  if (op == "**") return a == 0 && b < 0 ? absl::StatusOr<Value>(ByZero()) : Value(std::pow(a, b));
  if (b == 0) return ByZero();
  if (op == "/") return Value(a / b);
  double rest = std::fmod(a, b);
  if (rest != 0 && (rest < 0) != (b < 0)) rest += b;
  if (op == "%") return Value(rest == 0 ? std::copysign(0.0, b) : rest);
  const double quotient = (a - rest) / b;
  const double floored = std::floor(quotient);
  return Value(quotient - floored > 0.5 ? floored + 1 : floored);
}

absl::StatusOr<Value> Repeat(Runtime& runtime, const Value& value, int64_t times) {
  const uint64_t count = times < 0 ? 0 : static_cast<uint64_t>(times);
  size_t bytes = 0;
  const size_t each = value.text() != nullptr ? value.size() : value.size() * sizeof(Value);
  if (__builtin_mul_overflow(each, count, &bytes)) bytes = std::numeric_limits<size_t>::max();
  RETURN_IF_ERROR(runtime.Charge(bytes));
  if (const std::string* text = value.text()) {
    std::string out;
    for (uint64_t i = 0; i < count && !text->empty(); ++i) out += *text;
    return Value(std::move(out));
  }
  std::vector<Value> items;
  const std::vector<Value>& once = value.list()->items;
  for (uint64_t i = 0; i < count && !once.empty(); ++i) items.insert(items.end(), once.begin(), once.end());
  return runtime.NewList(std::move(items), value.list()->form);
}

bool Repeats(const Value& value) {
  return value.text() != nullptr || (value.list() != nullptr && value.list()->form <= ListForm::kGroup);
}

}  // namespace

absl::StatusOr<Value> Runtime::Binary(absl::string_view op, const Value& a, const Value& b) {
  RETURN_IF_ERROR(Charge(a.size() + b.size()));
  if (a.whole() && b.whole()) return Whole(op, *a.whole(), *b.whole());
  if (a.number() && b.number()) return Real(op, *a.number(), *b.number());
  if (op == "%" && a.text() != nullptr) {
    ASSIGN_OR_RETURN(std::string text, PercentFormat(*this, *a.text(), b));
    return Value(std::move(text));
  }
  if (op == "*" && Repeats(a) && b.whole()) return Repeat(*this, a, *b.whole());
  if (op == "*" && Repeats(b) && a.whole()) return Repeat(*this, b, *a.whole());
  if (op == "+" && a.text() != nullptr && b.text() != nullptr) return Value(absl::StrCat(*a.text(), *b.text()));
  if (op == "+" && a.list() != nullptr && b.list() != nullptr && a.list()->form == b.list()->form &&
      a.list()->form <= ListForm::kTuple) {
    std::vector<Value> items = a.list()->items;
    items.insert(items.end(), b.list()->items.begin(), b.list()->items.end());
    return NewList(std::move(items), a.list()->form);
  }
  if (a.is_undefined()) return CannotUse(a, "");
  if (b.is_undefined()) return CannotUse(b, "");
  return TypeError(absl::StrCat("no ", op, " between ", a.type_name(), " and ", b.type_name()));
}

}  // namespace tactus::jinja
