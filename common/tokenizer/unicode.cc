#include "common/tokenizer/unicode.h"

#include <algorithm>

namespace tactus {
namespace {

#include "common/tokenizer/unicode_classes.inc"

bool Contains(std::span<const CodePointRange> ranges, uint32_t code_point) {
  const auto it = std::upper_bound(ranges.begin(), ranges.end(), code_point,
                                   [](uint32_t c, const CodePointRange& range) { return c < range.first; });
  return it != ranges.begin() && code_point <= std::prev(it)->last;
}

}  // namespace

std::span<const CodePointRange> LetterRanges() { return kLetters; }
std::span<const CodePointRange> NumberRanges() { return kNumbers; }
std::span<const CodePointRange> SpaceRanges() { return kSpaces; }

bool IsSpace(uint32_t code_point) { return Contains(kSpaces, code_point); }
bool IsNumeric(uint32_t code_point) { return Contains(kNumeric, code_point); }
bool IsWordCharacter(uint32_t code_point) { return Contains(kWordCharacters, code_point); }

}  // namespace tactus
