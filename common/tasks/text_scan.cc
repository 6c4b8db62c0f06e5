#include "common/tasks/text_scan.h"

#include <algorithm>

#include "absl/strings/strip.h"
#include "common/tokenizer/unicode.h"
#include "common/tokenizer/utf8.h"

namespace tactus {
namespace {

size_t TrailingSpaceBytes(absl::string_view text) {
  size_t size = 0;
  while (size < text.size() && size < 4) {
    const char c = text[text.size() - ++size];
    if ((static_cast<unsigned char>(c) & 0xC0) != 0x80) break;  // where a character begins
  }
  return LeadingSpaceBytes(text.substr(text.size() - size)) == size ? size : 0;
}

}  // namespace

size_t LeadingSpaceBytes(absl::string_view text) {
  const absl::string_view head = text.substr(0, 4);
  if (ValidUtf8Prefix(head) == 0) return 0;
  const Scalar first = DecodeUtf8(head, 0);
  return IsSpace(first.code_point) ? first.length_bytes : 0;
}

absl::string_view StripSpace(absl::string_view text) {
  while (const size_t bytes = LeadingSpaceBytes(text)) text.remove_prefix(bytes);
  while (const size_t bytes = TrailingSpaceBytes(text)) text.remove_suffix(bytes);
  return text;
}

bool ConsumeAny(absl::string_view* text, std::span<const absl::string_view> prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [text](absl::string_view prefix) { return absl::ConsumePrefix(text, prefix); });
}

}  // namespace tactus
