// Small steps of the parsers of answers: white space of any kind, and prefixes. Thread-safe.
#pragma once

#include <cstddef>
#include <span>

#include "absl/strings/string_view.h"

namespace tactus {

// How many bytes the white space character takes that the text begins with, 0 when it begins with something else. A
// character of Unicode's White_Space property, in UTF-8: space, tab and line breaks, the no-break space, the
// typographical spaces.
size_t LeadingSpaceBytes(absl::string_view text);

// Without the white space at both ends.
absl::string_view StripSpace(absl::string_view text);

// Moves *text past the first of `prefixes` that it begins with; false when there is none.
bool ConsumeAny(absl::string_view* text, std::span<const absl::string_view> prefixes);

}  // namespace tactus
