#include "common/tasks/number_text.h"

#include <algorithm>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace tactus {
namespace {

bool AllDigits(absl::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return absl::ascii_isdigit(static_cast<unsigned char>(c)); });
}

// "1,234" or "1234", without its commas.
std::optional<std::string> WholePart(absl::string_view text) {
  std::string digits;
  size_t groups = 0;
  for (const absl::string_view group : absl::StrSplit(text, ',')) {
    const bool first = groups++ == 0;
    if (!AllDigits(group) || (!first && group.size() != 3)) return std::nullopt;
    digits.append(group.data(), group.size());
    if (first && (group.empty() || group.size() > 3) && group.size() != text.size()) return std::nullopt;
  }
  return digits;
}

// Unsigned, digits with an optional fraction after a point.
std::optional<mpq_class> Decimal(absl::string_view text) {
  const size_t point = std::min(text.find('.'), text.size());
  const std::optional<std::string> whole = WholePart(text.substr(0, point));
  const absl::string_view fraction = point < text.size() ? text.substr(point + 1) : absl::string_view();
  if (!whole || !AllDigits(fraction) || (whole->empty() && fraction.empty())) return std::nullopt;
  if (point < text.size() && fraction.empty()) return std::nullopt;
  mpz_class scale = 1;
  for (size_t i = 0; i < fraction.size(); ++i) scale *= 10;
  mpq_class value(mpz_class("0" + *whole + std::string(fraction), 10), scale);
  value.canonicalize();
  return value;
}

bool ConsumeMinus(absl::string_view* text) {
  return absl::ConsumePrefix(text, "-") || absl::ConsumePrefix(text, "\xE2\x88\x92");
}

std::optional<mpq_class> SignedDecimal(absl::string_view text) {
  text = absl::StripAsciiWhitespace(text);
  const bool negative = ConsumeMinus(&text);
  if (!negative) absl::ConsumePrefix(&text, "+");
  std::optional<mpq_class> value = Decimal(text);
  if (value && negative) *value = -*value;
  return value;
}

std::optional<mpq_class> Quotient(absl::string_view top, absl::string_view bottom) {
  const std::optional<mpq_class> a = SignedDecimal(top), b = SignedDecimal(bottom);
  if (!a || !b || *b == 0) return std::nullopt;
  return mpq_class(*a / *b);
}

// "\frac{a}{b}" with whole or decimal parts.
std::optional<mpq_class> LatexFraction(absl::string_view text) {
  for (const absl::string_view command : {"\\frac{", "\\dfrac{", "\\tfrac{"}) {
    absl::string_view rest = text;
    if (!absl::ConsumePrefix(&rest, command) || !absl::ConsumeSuffix(&rest, "}")) continue;
    const size_t middle = rest.find("}{");
    if (middle == absl::string_view::npos) return std::nullopt;
    return Quotient(rest.substr(0, middle), rest.substr(middle + 2));
  }
  return std::nullopt;
}

}  // namespace

std::optional<mpq_class> ParseNumber(absl::string_view text) {
  if (text.size() > kMaxNumberBytes) return std::nullopt;
  text = absl::StripAsciiWhitespace(text);
  if (!absl::ConsumeSuffix(&text, ".")) absl::ConsumeSuffix(&text, "%");
  const bool negative = absl::StartsWith(text, "-\\") || absl::StartsWith(text, "-$");
  if (negative) text.remove_prefix(1);
  absl::ConsumePrefix(&text, "$");
  std::optional<mpq_class> value;
  if (absl::StartsWith(text, "\\")) {
    value = LatexFraction(text);
  } else if (const size_t slash = text.find('/'); slash != absl::string_view::npos) {
    value = Quotient(text.substr(0, slash), text.substr(slash + 1));
  } else {
    value = SignedDecimal(text);
  }
  if (value && negative) *value = -*value;
  return value;
}

}  // namespace tactus
