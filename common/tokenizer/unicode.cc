#include "common/tokenizer/unicode.h"

#include <algorithm>

namespace tactus {
namespace {

#include "common/tokenizer/unicode_categories.inc"
#include "common/tokenizer/unicode_classes.inc"

constexpr RegexClass kRegexClasses[] = {
    {"\\p{L}", "\\P{L}", kLetters}, {"\\p{N}", "\\P{N}", kNumbers}, {"\\p{Lu}", "\\P{Lu}", kLu},
    {"\\p{Ll}", "\\P{Ll}", kLl},    {"\\p{Lt}", "\\P{Lt}", kLt},    {"\\p{Lm}", "\\P{Lm}", kLm},
    {"\\p{Lo}", "\\P{Lo}", kLo},    {"\\p{M}", "\\P{M}", kM},       {"\\s", "\\S", kSpaces}};

bool Contains(std::span<const CodePointRange> ranges, uint32_t code_point) {
  const auto it = std::upper_bound(ranges.begin(), ranges.end(), code_point,
                                   [](uint32_t c, const CodePointRange& range) { return c < range.first; });
  return it != ranges.begin() && code_point <= std::prev(it)->last;
}

}  // namespace

std::span<const RegexClass> RegexClasses() { return kRegexClasses; }

bool IsSpace(uint32_t code_point) { return Contains(kSpaces, code_point); }
bool IsNumeric(uint32_t code_point) { return Contains(kNumeric, code_point); }
bool IsWordCharacter(uint32_t code_point) { return Contains(kWordCharacters, code_point); }

}  // namespace tactus
