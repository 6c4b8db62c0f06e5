#include "common/tasks/number_unit.h"

#include <algorithm>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "common/tasks/answer_dress.h"
#include "common/tasks/text_scan.h"

namespace tactus {
namespace {

constexpr absl::string_view kPercents[] = {"percentage", "percent", "pct", "\\%", "%"};
constexpr absl::string_view kDegrees[] = {"^\\circ", "^{\\circ}", "\xC2\xB0"};
constexpr absl::string_view kPowers[] = {"^2", "^{2}", "^3", "^{3}", "^{-1}", "^{-2}", "\xC2\xB2", "\xC2\xB3"};
constexpr absl::string_view kShortUnits = "dghlmst";
// Words behind which the number is not what stands before them, or not the only one.
constexpr absl::string_view kNoUnits[] = {"and",     "or",       "to",      "plus",    "minus",    "times", "over",
                                          "hundred", "thousand", "million", "billion", "trillion", "half",  "dozen",
                                          "dozens",  "score",    "pi",      "sqrt",    "ln",       "log",   "exp",
                                          "sin",     "cos",      "tan",     "inf",     "infinity"};

size_t Letters(absl::string_view text) {
  size_t size = 0;
  while (size < text.size() && absl::ascii_isalpha(static_cast<unsigned char>(text[size]))) ++size;
  return size;
}

bool IsUnit(absl::string_view word) {
  if (word.size() == 1) return absl::StrContains(kShortUnits, word);
  return std::none_of(std::begin(kNoUnits), std::end(kNoUnits),
                      [word](absl::string_view other) { return absl::EqualsIgnoreCase(word, other); });
}

// A text command's inside: any text whose words are units, without a number.
bool IsUnitText(absl::string_view text) {
  while (!text.empty()) {
    if (ConsumeAny(&text, kPowers)) continue;
    const size_t letters = Letters(text);
    if (letters > 1 && !IsUnit(text.substr(0, letters))) return false;
    if (absl::ascii_isdigit(static_cast<unsigned char>(text.front()))) return false;
    text.remove_prefix(std::max<size_t>(letters, 1));
  }
  return true;
}

}  // namespace

bool ConsumePercent(absl::string_view* text) {
  absl::string_view rest = *text;
  if (const auto inside = ConsumeTextCommand(&rest)) {
    absl::string_view word = StripSpace(*inside);
    if (!ConsumeAny(&word, kPercents) || !word.empty()) return false;
  } else if (!ConsumeAny(&rest, kPercents) || Letters(rest) > 0) {
    return false;
  }
  *text = rest;
  return true;
}

bool ConsumeUnit(absl::string_view* text) {
  if (ConsumeAny(text, kDegrees)) return true;
  absl::string_view rest = *text;
  if (const auto inside = ConsumeTextCommand(&rest)) {
    if (!IsUnitText(*inside)) return false;
  } else {
    const size_t letters = Letters(rest);
    if (letters == 0 || !IsUnit(rest.substr(0, letters))) return false;
    rest.remove_prefix(letters);
  }
  ConsumeAny(&rest, kPowers);
  *text = rest;
  return true;
}

}  // namespace tactus
