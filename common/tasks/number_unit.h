// What may follow a number in an answer: per cent and units. Thread-safe.
#pragma once

#include "absl/strings/string_view.h"

namespace tactus {

// "%", "\%", "percent", "percentage", "pct" and the same in a text command, at the front of *text; moved past.
bool ConsumePercent(absl::string_view* text);

// A degree sign, a word ("dollars", "cm", one of the units of a single letter) or a text command, with its power
// ("cm^2", U+00B2). False, and *text stays: something else, or a word that changes the number before it.
bool ConsumeUnit(absl::string_view* text);

}  // namespace tactus
