// What methods and filters of texts share.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/tokenizer/jinja/runtime.h"

namespace tactus::jinja {

// The first place at or behind `from`; npos: none. Time is linear.
size_t FindText(absl::string_view text, absl::string_view part, size_t from);

// At most `count` replacements from the left; < 0: all. Errors: the budget's.
absl::StatusOr<std::string> ReplaceText(Runtime& runtime, absl::string_view text, absl::string_view from,
                                        absl::string_view to, int64_t count);

absl::string_view StripCharacters(absl::string_view text, absl::string_view characters, bool left, bool right);

enum class Side { kLeft, kRight, kBoth };  // where a padded text stands
absl::StatusOr<std::string> PadText(Runtime& runtime, absl::string_view text, int64_t width, absl::string_view fill,
                                    Side side);

}  // namespace tactus::jinja
