// Parses a splitting regex and writes it anew for PCRE2, classes spelled out. See regex.h for the accepted grammar.
#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/status_macros.h"
#include "common/tokenizer/regex.h"
#include "common/tokenizer/unicode.h"
#include "common/tokenizer/utf8.h"

namespace tactus {
namespace {

constexpr uint32_t kMaxCodePoint = 0x10FFFF;
constexpr int kMaxGroupDepth = 32;
constexpr int kMaxRepeat = 1000;
constexpr size_t kMaxPatternBytes = 4096;

using Ranges = std::vector<CodePointRange>;

Ranges Normalized(Ranges ranges) {
  std::sort(ranges.begin(), ranges.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  Ranges out;
  for (const CodePointRange& range : ranges) {
    if (!out.empty() && range.first <= out.back().last + 1) {
      out.back().last = std::max(out.back().last, range.last);
    } else {
      out.push_back(range);
    }
  }
  return out;
}

Ranges Complement(const Ranges& normalized) {
  Ranges out;
  uint32_t next = 0;
  for (const CodePointRange& range : normalized) {
    if (range.first > next) out.push_back({next, range.first - 1});
    next = range.last + 1;
  }
  if (next <= kMaxCodePoint) out.push_back({next, kMaxCodePoint});
  return out;
}

bool IsAsciiLetter(uint32_t c) { return (c | 0x20) >= 'a' && (c | 0x20) <= 'z'; }
bool IsAsciiAlnum(uint32_t c) { return IsAsciiLetter(c) || (c >= '0' && c <= '9'); }

std::string EscapedCodePoint(uint32_t c) { return absl::StrFormat("\\x{%X}", c); }

// PCRE2 refuses surrogates in a pattern; no text holds them, so a range may leave them out.
void AppendRange(uint32_t first, uint32_t last, std::string& out) {
  if (first < 0xD800 && last > 0xDFFF) {
    AppendRange(first, 0xD7FF, out);
    AppendRange(0xE000, last, out);
    return;
  }
  if (first >= 0xD800 && first <= 0xDFFF) first = 0xE000;
  if (last >= 0xD800 && last <= 0xDFFF) last = 0xD7FF;
  if (first > last) return;
  absl::StrAppend(&out, EscapedCodePoint(first), first == last ? "" : "-", first == last ? "" : EscapedCodePoint(last));
}

class Translator {
 public:
  explicit Translator(absl::string_view pattern) : pattern_(pattern) {}

  absl::StatusOr<std::string> Run() {
    if (pattern_.size() > kMaxPatternBytes) {
      return absl::InvalidArgumentError(
          absl::StrFormat("the regex has %d bytes, more than %d", pattern_.size(), kMaxPatternBytes));
    }
    RETURN_IF_ERROR(Alternatives(0));
    if (!AtEnd()) return Refuse("an unmatched )");
    return std::move(out_);
  }

 private:
  bool AtEnd() const { return at_ >= pattern_.size(); }
  bool StartsWith(absl::string_view what) const { return pattern_.substr(at_, what.size()) == what; }
  bool Take(absl::string_view what) {
    if (!StartsWith(what)) return false;
    at_ += what.size();
    return true;
  }
  uint32_t TakeScalar() {
    const Scalar scalar = DecodeUtf8(pattern_, at_);
    at_ += scalar.length_bytes;
    return scalar.code_point;
  }
  absl::Status Refuse(absl::string_view what) const {
    return absl::InvalidArgumentError(
        absl::StrFormat("the regex has %s at byte %d, which is not supported", what, std::min(at_, pattern_.size())));
  }

  absl::Status Alternatives(int depth) {
    if (depth > kMaxGroupDepth) return Refuse("groups nested too deeply");
    while (true) {
      RETURN_IF_ERROR(Branch(depth));
      if (!Take("|")) return absl::OkStatus();
      out_.push_back('|');
    }
  }

  absl::Status Branch(int depth) {
    uint32_t previous_literal = 0;
    while (!AtEnd() && !StartsWith("|") && !StartsWith(")")) {
      if (StartsWith("(")) {
        previous_literal = 0;
        RETURN_IF_ERROR(Group(depth));
        continue;
      }
      std::optional<uint32_t> literal;
      RETURN_IF_ERROR(SingleCharacter(literal));
      if (literal && ignore_case_) RETURN_IF_ERROR(CheckFolding(previous_literal, *literal));
      previous_literal = literal.value_or(0);
      RETURN_IF_ERROR(Quantifier());
    }
    return absl::OkStatus();
  }

  absl::Status Group(int depth) {
    const bool outer_ignore_case = ignore_case_;
    bool assertion = false;
    if (Take("(?i:")) {
      ignore_case_ = true;
      out_ += "(?i:";
    } else if (Take("(?:")) {
      out_ += "(?:";
    } else if (StartsWith("(?=") || StartsWith("(?!")) {
      absl::StrAppend(&out_, absl::string_view(pattern_.substr(at_, 3)));
      at_ += 3;
      assertion = true;
    } else if (StartsWith("(?") || StartsWith("(*")) {
      return Refuse("a group of this kind");
    } else {
      ++at_;
      out_ += "(?:";  // what a group captures is never used
    }
    RETURN_IF_ERROR(Alternatives(depth + 1));
    if (!Take(")")) return Refuse("a group without its )");
    out_.push_back(')');
    ignore_case_ = outer_ignore_case;
    if (AtEnd() || absl::string_view("?*+{").find(pattern_[at_]) == absl::string_view::npos) return absl::OkStatus();
    // Repeated groups are where exponential time comes from, and no tokenizer has them.
    if (assertion || !Take("?")) return Refuse("a repeated group");
    out_.push_back('?');
    if (StartsWith("?") || StartsWith("+")) out_.push_back(pattern_[at_++]);
    return absl::OkStatus();
  }

  absl::Status SingleCharacter(std::optional<uint32_t>& literal) {
    if (StartsWith("[")) return Class();
    if (absl::string_view(".^$?*+{").find(pattern_[at_]) != absl::string_view::npos) {
      return Refuse(absl::StrCat("a bare ", absl::string_view(pattern_.substr(at_, 1))));
    }
    if (!StartsWith("\\")) {
      literal = TakeScalar();
    } else {
      Ranges ranges;
      RETURN_IF_ERROR(Escape(literal, ranges));
      if (!literal) return EmitClass(ranges);
    }
    out_ += EscapedCodePoint(*literal);
    return absl::OkStatus();
  }

  // \n and its like give a literal, \p{L} and its like ranges.
  absl::Status Escape(std::optional<uint32_t>& literal, Ranges& ranges) {
    for (const RegexClass& known : RegexClasses()) {
      const bool negated = StartsWith(known.negation);
      if (!negated && !StartsWith(known.name)) continue;
      if (ignore_case_) return Refuse("a Unicode class inside (?i:");
      at_ += known.name.size();
      Ranges found(known.ranges.begin(), known.ranges.end());
      if (negated) found = Complement(found);
      ranges.insert(ranges.end(), found.begin(), found.end());
      return absl::OkStatus();
    }
    if (Take("\\r")) {
      literal = '\r';
    } else if (Take("\\n")) {
      literal = '\n';
    } else if (Take("\\t")) {
      literal = '\t';
    } else {
      const uint8_t next = at_ + 1 < pattern_.size() ? static_cast<uint8_t>(pattern_[at_ + 1]) : 0;
      if (next <= ' ' || next >= 0x7F || IsAsciiAlnum(next) || next == '_') return Refuse("an escape of this kind");
      at_ += 2;
      literal = next;
    }
    return absl::OkStatus();
  }

  absl::Status Class() {
    ++at_;
    const bool negated = Take("^");
    Ranges ranges;
    for (bool first = true; !StartsWith("]") || first; first = false) {
      if (AtEnd()) return Refuse("a class without its ]");
      if (StartsWith("[") || StartsWith("]") || StartsWith("&&")) return Refuse("a nested or empty class");
      std::optional<uint32_t> low;
      RETURN_IF_ERROR(ClassItem(low, ranges));
      if (!low) continue;
      uint32_t high = *low;
      if (StartsWith("-") && pattern_.substr(at_, 2) != "-]") {
        ++at_;
        std::optional<uint32_t> end;
        if (AtEnd()) return Refuse("a class without its ]");
        RETURN_IF_ERROR(ClassItem(end, ranges));
        if (!end || *end < *low) return Refuse("a class range of this kind");
        high = *end;
      }
      ranges.push_back({*low, high});
    }
    ++at_;
    if (ignore_case_) {
      const bool ascii = std::all_of(ranges.begin(), ranges.end(), [](const auto& r) { return r.last < 0x80; });
      if (negated || !ascii) return Refuse("a class that is not plain ASCII inside (?i:");
    }
    ranges = Normalized(std::move(ranges));
    return EmitClass(negated ? Complement(ranges) : ranges);
  }

  absl::Status ClassItem(std::optional<uint32_t>& literal, Ranges& ranges) {
    if (StartsWith("\\")) return Escape(literal, ranges);
    literal = TakeScalar();
    return absl::OkStatus();
  }

  absl::Status EmitClass(const Ranges& ranges) {
    if (ranges.empty()) return Refuse("a class that nothing is in");
    out_.push_back('[');
    for (const CodePointRange& range : ranges) AppendRange(range.first, range.last, out_);
    out_.push_back(']');
    return absl::OkStatus();
  }

  // Oniguruma folds some pairs with single characters (ss with U+00DF, fi with U+FB01), PCRE2 never does.
  absl::Status CheckFolding(uint32_t previous, uint32_t current) const {
    if (current >= 0x80) return Refuse("a character outside ASCII inside (?i:");
    const char pair[2] = {static_cast<char>(previous | 0x20), static_cast<char>(current | 0x20)};
    for (const absl::string_view folded : {"ff", "fi", "fl", "ss", "st"}) {
      if (folded == absl::string_view(pair, 2)) return Refuse("a pair of letters that folds to one character");
    }
    return absl::OkStatus();
  }

  absl::Status Quantifier() {
    if (AtEnd()) return absl::OkStatus();
    if (StartsWith("{")) return Interval();
    if (absl::string_view("?*+").find(pattern_[at_]) == absl::string_view::npos) return absl::OkStatus();
    out_.push_back(pattern_[at_++]);
    if (StartsWith("?") || StartsWith("+")) out_.push_back(pattern_[at_++]);
    if (!AtEnd() && absl::string_view("?*+{").find(pattern_[at_]) != absl::string_view::npos) {
      return Refuse("a repeated quantifier");
    }
    return absl::OkStatus();
  }

  absl::Status Interval() {
    ++at_;
    int bounds[2] = {-1, -1};
    int which = 0;
    for (; !AtEnd() && !StartsWith("}"); ++at_) {
      const char c = pattern_[at_];
      if (c == ',' && which == 0 && bounds[0] >= 0) {
        which = 1;
      } else if (c >= '0' && c <= '9' && bounds[which] <= kMaxRepeat) {
        bounds[which] = std::max(bounds[which], 0) * 10 + (c - '0');
      } else {
        return Refuse("an interval of this kind");
      }
    }
    if (!Take("}") || bounds[0] < 0 || std::max(bounds[0], bounds[1]) > kMaxRepeat) {
      return Refuse("an interval of this kind");
    }
    if (!AtEnd() && absl::string_view("?*+{").find(pattern_[at_]) != absl::string_view::npos) {
      return Refuse("a quantifier behind an interval");
    }
    absl::StrAppend(&out_, "{", bounds[0], which == 1 ? "," : "", bounds[1] >= 0 ? absl::StrCat(bounds[1]) : "", "}");
    return absl::OkStatus();
  }

  const absl::string_view pattern_;
  size_t at_ = 0;
  bool ignore_case_ = false;
  std::string out_;
};

}  // namespace

absl::StatusOr<std::string> TranslateRegex(absl::string_view pattern) {
  if (ValidUtf8Prefix(pattern) != pattern.size()) return absl::InvalidArgumentError("the regex is not UTF-8");
  return Translator(pattern).Run();
}

std::string LiteralRegex(absl::string_view literal) {
  std::string out;
  for (size_t at = 0; at < literal.size();) {
    const Scalar scalar = DecodeUtf8(literal, at);
    out += EscapedCodePoint(scalar.code_point);
    at += scalar.length_bytes;
  }
  return out;
}

}  // namespace tactus
