#include "common/tasks/number_text.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/tasks/answer_dress.h"
#include "common/tasks/number_unit.h"
#include "common/tasks/text_scan.h"

namespace tactus {
namespace {

constexpr int kMaxExponent = 200;  // of ten
constexpr absl::string_view kMinuses[] = {"-", "\xE2\x88\x92"};
// What LaTeX puts between groups of digits, and "1,234".
constexpr absl::string_view kSeparators[] = {"{,}", ",\\!", ",", "\\!", "\\,", "\\;", "\\:", "\\ ", "~"};
// What may stand around a number without a meaning. U+20AC, U+00A3, U+00A5, U+20B9: other currencies.
constexpr absl::string_view kFill[] = {"$",
                                       "\\$",
                                       "**",
                                       "\\!",
                                       "\\,",
                                       "\\;",
                                       "\\:",
                                       "\\ ",
                                       "~",
                                       "\\(",
                                       "\\)",
                                       "\\[",
                                       "\\]",
                                       "\\quad",
                                       "\\displaystyle",
                                       "\xE2\x82\xAC",
                                       "\xC2\xA3",
                                       "\xC2\xA5",
                                       "\xE2\x82\xB9"};

size_t Digits(absl::string_view text) {
  size_t size = 0;
  while (size < text.size() && absl::ascii_isdigit(static_cast<unsigned char>(text[size]))) ++size;
  return size;
}

mpz_class PowerOfTen(unsigned long exponent) {
  mpz_class power;
  mpz_ui_pow_ui(power.get_mpz_t(), 10, exponent);
  return power;
}

// Reads from the front of a text, going past what it has read. After a failure the reader is of no use.
class NumberReader {
 public:
  explicit NumberReader(absl::string_view text) : rest_(text) {}

  std::optional<Number> Whole() {
    std::optional<Number> number = Signed();
    if (!number || !After(&*number)) return std::nullopt;
    return number;
  }

 private:
  void Fill() {
    while (true) {
      const size_t space = LeadingSpaceBytes(rest_);
      rest_.remove_prefix(space);
      if (space == 0 && !ConsumeAny(&rest_, kFill)) break;
    }
    if (rest_ == "\\") rest_ = "";  // a "\\ " at the end that was trimmed
  }

  // [sign] quotient
  std::optional<Number> Signed() {
    Fill();
    const bool negative = ConsumeAny(&rest_, kMinuses);
    if (!negative) absl::ConsumePrefix(&rest_, "+");
    Fill();
    std::optional<Number> number = Quotient();
    if (number && negative) number->value = -number->value;
    return number;
  }

  std::optional<Number> Quotient() {
    std::optional<Number> top = Term();
    absl::string_view rest = StripSpace(rest_);
    if (!top || !(absl::ConsumePrefix(&rest, "/") || absl::ConsumePrefix(&rest, "\\over"))) return top;
    rest_ = StripSpace(rest);
    const bool negative = ConsumeAny(&rest_, kMinuses);
    return Divide(*top, Term(), negative);
  }

  static std::optional<Number> Divide(const Number& top, const std::optional<Number>& bottom, bool negative) {
    if (!bottom || bottom->value == 0) return std::nullopt;
    mpq_class value = top.value / bottom->value;
    return Number{.value = negative ? mpq_class(-value) : value, .decimal = top.decimal || bottom->decimal};
  }

  // A number without a sign of its own, or a whole one inside a group.
  std::optional<Number> Term() {
    if (const auto inside = ConsumeBrackets()) return Inside(*inside);
    if (const auto inside = ConsumeBraces(&rest_)) return Inside(*inside);
    if (const auto inside = ConsumeTextCommand(&rest_)) return Inside(*inside);
    if (ConsumeFraction()) return Fraction();
    std::optional<Number> number = Decimal();
    if (!number) return std::nullopt;
    if (!number->decimal && number->value.get_den() == 1) {
      const absl::string_view before = rest_;
      Fill();
      if (ConsumeFraction()) {
        const std::optional<Number> fraction = Fraction();
        if (!fraction || fraction->value < 0) return std::nullopt;
        number->value += fraction->value;
        return number;
      }
      rest_ = before;
    }
    return TimesPowerOfTen(*std::move(number));
  }

  // "(...)" or "[...]", also of different size; nested ones paired.
  std::optional<absl::string_view> ConsumeBrackets() {
    absl::string_view rest = rest_;
    absl::ConsumePrefix(&rest, "\\left");
    if (!absl::StartsWith(rest, "(") && !absl::StartsWith(rest, "[")) return std::nullopt;
    const char open = rest.front(), close = open == '(' ? ')' : ']';
    int depth = 0;
    for (size_t at = 0; at < rest.size(); ++at) {
      depth += rest[at] == open ? 1 : rest[at] == close ? -1 : 0;
      if (depth > 0) continue;
      absl::string_view inside = rest.substr(1, at - 1);
      absl::ConsumeSuffix(&inside, "\\right");
      rest_ = rest.substr(at + 1);
      return inside;
    }
    return std::nullopt;
  }

  static std::optional<Number> Inside(absl::string_view text) {
    std::optional<Number> number = NumberReader(text).Whole();
    return number && !number->percent ? number : std::nullopt;
  }

  bool ConsumeFraction() {
    constexpr absl::string_view kCommands[] = {"\\frac", "\\dfrac", "\\tfrac", "\\cfrac"};
    return ConsumeAny(&rest_, kCommands);
  }

  std::optional<Number> Fraction() {
    const std::optional<Number> top = Argument();
    if (!top) return std::nullopt;
    return Divide(*top, Argument(), /*negative=*/false);
  }

  // As LaTeX takes one: a group, or a single character.
  std::optional<Number> Argument() {
    rest_ = StripSpace(rest_);
    if (const auto inside = ConsumeBraces(&rest_)) return Inside(*inside);
    if (Digits(rest_) == 0) return std::nullopt;
    const Number digit{.value = rest_.front() - '0'};
    rest_.remove_prefix(1);
    return digit;
  }

  // Digits in groups of three, or not; a point or a comma with more digits.
  std::optional<Number> Decimal() {
    std::string digits(rest_.substr(0, Digits(rest_)));
    rest_.remove_prefix(digits.size());
    const size_t first = digits.size();
    while (first >= 1 && first <= 3 && digits.front() != '0') {
      absl::string_view group = rest_;
      const size_t space = LeadingSpaceBytes(group);
      group.remove_prefix(space);
      if ((space == 0 && !ConsumeAny(&group, kSeparators)) || Digits(group) != 3) break;
      absl::StrAppend(&digits, group.substr(0, 3));
      rest_ = group.substr(3);
    }
    const std::string fraction = DecimalPlaces(digits, /*may_be_comma=*/digits.size() == first);
    if (digits.empty() && fraction.empty()) return std::nullopt;
    mpq_class value(mpz_class("0" + digits + fraction, 10), PowerOfTen(fraction.size()));
    value.canonicalize();
    return Number{.value = std::move(value), .decimal = !fraction.empty()};
  }

  // may_be_comma: not behind groups.
  std::string DecimalPlaces(const std::string& whole, bool may_be_comma) {
    absl::string_view rest = rest_;
    const bool comma = may_be_comma && (absl::ConsumePrefix(&rest, "{,}") || absl::ConsumePrefix(&rest, ","));
    if (!comma && !absl::ConsumePrefix(&rest, ".")) return "";
    const size_t places = Digits(rest);
    // After a comma three digits would be a group's, and more a mistake.
    if (comma && (whole.empty() || (places > 2 && whole != "0"))) return "";
    if (places > 0) rest_ = rest.substr(places);
    return std::string(rest.substr(0, places));
  }

  // "... \times 10^{3}", and "10^3".
  std::optional<Number> TimesPowerOfTen(Number number) {
    constexpr absl::string_view kTimes[] = {"\\times", "\\cdot", "\xC3\x97", "*"};
    if (number.value == 10 && absl::StartsWith(rest_, "^") && !absl::StartsWith(rest_, "^\\") &&
        !absl::StartsWith(rest_, "^{\\")) {
      number.value = 1;
      return Scaled(std::move(number));
    }
    absl::string_view rest = StripSpace(rest_);
    if (absl::StartsWith(rest, "**") || !ConsumeAny(&rest, kTimes)) return number;
    rest = StripSpace(rest);
    if (!absl::ConsumePrefix(&rest, "10")) return std::nullopt;
    rest_ = rest;
    return Scaled(std::move(number));
  }

  std::optional<Number> Scaled(Number number) {
    if (!absl::ConsumePrefix(&rest_, "^")) return std::nullopt;
    const std::optional<absl::string_view> group = ConsumeBraces(&rest_);
    absl::string_view exponent = group ? StripSpace(*group) : rest_;
    const bool negative = ConsumeAny(&exponent, kMinuses);
    const size_t size = Digits(exponent);
    if (size == 0 || size > 3 || (group && size != exponent.size())) return std::nullopt;
    int power = 0;
    if (!absl::SimpleAtoi(exponent.substr(0, size), &power) || power > kMaxExponent) return std::nullopt;
    if (!group) rest_ = exponent.substr(size);
    const mpz_class scale = PowerOfTen(static_cast<unsigned long>(power));
    if (negative) {
      number.value /= scale;
    } else {
      number.value *= scale;
    }
    return number;
  }

  // Per cent, units and punctuation, to the end.
  bool After(Number* number) {
    bool unit = false;
    while (true) {
      Fill();
      if (rest_.empty()) return true;
      if (!number->percent && ConsumePercent(&rest_)) {
        number->percent = true;
      } else if (ConsumeUnit(&rest_)) {
        unit = true;
      } else if (!unit || !(absl::ConsumePrefix(&rest_, "/") || absl::ConsumePrefix(&rest_, "\\cdot"))) {
        break;
      }
    }
    constexpr absl::string_view kPunctuation[] = {".", ",", ";"};
    if (!ConsumeAny(&rest_, kPunctuation)) return false;
    Fill();
    return rest_.empty();
  }

  absl::string_view rest_;
};

// What is behind the last sign of equality, exact or not; all of it where there is none.
absl::string_view RightSide(absl::string_view text) {
  size_t begin = 0;
  for (const absl::string_view sign : {"=", "\\approx", "\xE2\x89\x88"}) {
    const size_t at = text.rfind(sign);
    if (at == absl::string_view::npos) continue;
    const bool inequality = at > 0 && absl::StrContains("\\<>!", text.substr(at - 1, 1));
    if (!inequality) begin = std::max(begin, at + sign.size());
  }
  return text.substr(begin);
}

mpz_class Millionths(const mpq_class& value) {
  const mpq_class scaled = abs(value) * 1'000'000 + mpq_class(1, 2);
  const mpz_class rounded = scaled.get_num() / scaled.get_den();
  return value < 0 ? mpz_class(-rounded) : rounded;
}

// As it stands.
bool Same(const Number& a, const Number& b) {
  if (a.value == b.value) return true;
  const auto whole = [](const Number& number) { return !number.decimal && number.value.get_den() == 1; };
  return (a.decimal || b.decimal) && !whole(a) && !whole(b) && Millionths(a.value) == Millionths(b.value);
}

Number Hundredth(const Number& number) {
  return {.value = number.percent ? mpq_class(number.value / 100) : number.value, .decimal = number.decimal};
}

}  // namespace

std::optional<Number> ParseNumber(absl::string_view text) {
  if (text.size() > kMaxNumberBytes) return std::nullopt;
  return NumberReader(RightSide(Undress(text))).Whole();
}

bool SameNumber(const Number& a, const Number& b) {
  return Same(a, b) || Same(Hundredth(a), b) || Same(a, Hundredth(b)) || Same(Hundredth(a), Hundredth(b));
}

}  // namespace tactus
