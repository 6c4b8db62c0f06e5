// Finds the answer in what a model wrote. The text is never trusted: any bytes, any size, linear time. Thread-safe.
#pragma once

#include <optional>

#include "absl/strings/string_view.h"

namespace tactus {

struct MarkedText {
  absl::string_view text;  // inside the mark, trimmed of ASCII white space; a view into the argument
  size_t end = 0;          // position after the mark: which of several marks comes last
};

// The last complete <answer>...</answer>: a closing tag pairs with the nearest opening tag before it that has not been
// closed, an opening tag never closed or a closing tag never opened pairs with nothing. Of nested pairs the text of the
// inner one counts: there the outer opening tag stays without a partner.
std::optional<MarkedText> LastAnswerTag(absl::string_view text);

// The last \boxed{...} whose braces balance ("\{" and "\}" do not count).
std::optional<MarkedText> LastBoxed(absl::string_view text);

// The rest of the line behind the last "####" (GSM8K; not more of them) where that is a number or where nothing but
// white space comes after the line: what else stands behind "####" is a heading.
std::optional<MarkedText> LastHashes(absl::string_view text);

// The latest of the three above; but words behind "####" count only where neither of the others is.
std::optional<MarkedText> LastMarkedAnswer(absl::string_view text);

}  // namespace tactus
