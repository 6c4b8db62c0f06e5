#include "common/tokenizer/jinja/characters.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/ascii.h"
#include "common/tokenizer/unicode.h"
#include "common/tokenizer/utf8.h"

namespace tactus::jinja {
namespace {

// Every `step`-th code point of a range becomes itself plus `shift`.
struct CaseRange {
  uint32_t first, last, step;
  int32_t shift;
};
// A code point that becomes several; 0 = no more.
struct CaseSpecial {
  uint32_t code_point, to[3];
};

#include "common/tokenizer/jinja/characters.inc"

template <size_t N>
bool In(const CodePointRange (&ranges)[N], uint32_t c) {
  const auto* range = std::upper_bound(std::begin(ranges), std::end(ranges), c,
                                       [](uint32_t point, const CodePointRange& r) { return point < r.first; });
  return range != std::begin(ranges) && c <= (range - 1)->last;
}

template <size_t N, size_t M>
void AppendCased(const CaseRange (&ranges)[N], const CaseSpecial (&specials)[M], uint32_t c, std::string& out) {
  const auto* special = std::lower_bound(std::begin(specials), std::end(specials), c,
                                         [](const CaseSpecial& s, uint32_t point) { return s.code_point < point; });
  if (special != std::end(specials) && special->code_point == c) {
    for (const uint32_t part : special->to) {
      if (part != 0) AppendUtf8(part, out);
    }
    return;
  }
  const auto* range = std::upper_bound(std::begin(ranges), std::end(ranges), c,
                                       [](uint32_t point, const CaseRange& r) { return point < r.first; });
  if (range != std::begin(ranges)) {
    --range;
    if (c <= range->last && (c - range->first) % range->step == 0) c = static_cast<uint32_t>(int64_t{c} + range->shift);
  }
  AppendUtf8(c, out);
}

constexpr uint32_t kCapitalSigma = 0x3A3, kFinalSigma = 0x3C2;

// A capital sigma at the end of a word becomes another small one.
bool SigmaIsFinal(absl::string_view before, absl::string_view behind) {
  while (!before.empty()) {
    const Scalar scalar = DecodeUtf8Before(before, before.size());
    before.remove_suffix(scalar.length_bytes);
    if (In(kCaseIgnorable, scalar.code_point)) continue;
    if (!In(kCased, scalar.code_point)) return false;
    while (!behind.empty()) {
      const Scalar next = DecodeUtf8(behind, 0);
      behind.remove_prefix(next.length_bytes);
      if (!In(kCaseIgnorable, next.code_point)) return !In(kCased, next.code_point);
    }
    return true;
  }
  return false;
}

enum class Case { kUpper, kLower, kTitle };

// The scalar at text[at], in another case.
void AppendAs(Case to, absl::string_view text, size_t at, const Scalar& scalar, std::string& out) {
  const uint32_t c = scalar.code_point;
  if (to == Case::kUpper) return AppendCased(kToUpper, kToUpperSpecial, c, out);
  if (to == Case::kTitle) return AppendCased(kToTitle, kToTitleSpecial, c, out);
  if (c == kCapitalSigma && SigmaIsFinal(text.substr(0, at), text.substr(at + scalar.length_bytes))) {
    return AppendUtf8(kFinalSigma, out);
  }
  AppendCased(kToLower, kToLowerSpecial, c, out);
}

template <class CaseOf>
std::string Cased(absl::string_view text, const CaseOf& case_of) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const Scalar scalar = DecodeUtf8(text, at);
    AppendAs(case_of(at, scalar.code_point), text, at, scalar, out);
    at += scalar.length_bytes;
  }
  return out;
}

}  // namespace

bool IsPythonSpace(uint32_t c) { return IsSpace(c) || (c >= 0x1C && c <= 0x1F); }
bool IsPrintable(uint32_t c) { return c < 0x80 ? c >= 0x20 && c < 0x7F : !In(kNotPrintable, c); }
bool IsLetter(uint32_t c) { return In(kLetters, c); }
bool IsDecimal(uint32_t c) { return In(kDecimals, c); }
bool IsDigit(uint32_t c) { return In(kDigits, c); }
bool IsNumberSign(uint32_t c) { return In(kNumberSigns, c); }
bool IsUpper(uint32_t c) { return In(kUpperLetters, c); }
bool IsLower(uint32_t c) { return In(kLowerLetters, c); }

absl::string_view StripSpace(absl::string_view text, bool left, bool right) {
  while (left && !text.empty()) {
    const Scalar scalar = DecodeUtf8(text, 0);
    if (!IsPythonSpace(scalar.code_point)) break;
    text.remove_prefix(scalar.length_bytes);
  }
  while (right && !text.empty()) {
    const Scalar scalar = DecodeUtf8Before(text, text.size());
    if (!IsPythonSpace(scalar.code_point)) break;
    text.remove_suffix(scalar.length_bytes);
  }
  return text;
}

std::string Upper(absl::string_view text) {
  return Cased(text, [](size_t, uint32_t) { return Case::kUpper; });
}

std::string Lower(absl::string_view text) {
  return Cased(text, [](size_t, uint32_t) { return Case::kLower; });
}

std::string Title(absl::string_view text) {
  bool inside = false;  // of a word: behind a cased character
  return Cased(text, [&](size_t, uint32_t c) {
    const Case to = inside ? Case::kLower : Case::kTitle;
    inside = In(kCasedInTitle, c);
    return to;
  });
}

std::string Capitalize(absl::string_view text) {
  return Cased(text, [](size_t at, uint32_t) { return at == 0 ? Case::kTitle : Case::kLower; });
}

std::string SwapCase(absl::string_view text) {
  return Cased(text, [](size_t, uint32_t c) { return IsUpper(c) ? Case::kLower : Case::kUpper; });
}

uint32_t CodePointOf(absl::string_view scalar) { return DecodeUtf8(scalar, 0).code_point; }

size_t CountScalars(absl::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; }));
}

size_t ScalarOffset(absl::string_view text, size_t index) {
  for (size_t at = 0; at < text.size(); ++at) {
    if ((static_cast<uint8_t>(text[at]) & 0xC0) != 0x80 && index-- == 0) return at;
  }
  return text.size();
}

std::vector<absl::string_view> Scalars(absl::string_view text) {
  std::vector<absl::string_view> out;
  while (!text.empty()) {
    const size_t length = DecodeUtf8(text, 0).length_bytes;
    out.push_back(text.substr(0, length));
    text.remove_prefix(length);
  }
  return out;
}

std::vector<absl::string_view> SplitLines(absl::string_view text, bool keep_ends) {
  std::vector<absl::string_view> lines;
  size_t start = 0;
  for (size_t at = 0; at < text.size();) {
    const Scalar scalar = DecodeUtf8(text, at);
    const uint32_t c = scalar.code_point;
    const bool ends = (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
    size_t length = scalar.length_bytes;
    if (c == '\r' && at + 1 < text.size() && text[at + 1] == '\n') length = 2;
    if (ends) {
      lines.push_back(text.substr(start, (keep_ends ? at + length : at) - start));
      start = at + length;
    }
    at += length;
  }
  if (start < text.size()) lines.push_back(text.substr(start));
  return lines;
}

}  // namespace tactus::jinja
