// The frame of a page that needs no network and nothing beside it. Pure functions, thread-safe.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace tactus {

// The text with & < > " ' as entities.
std::string EscapeHtml(absl::string_view text);

// The text with what would be invisible, or would reorder the text around it, made visible: control characters as their
// pictures (U+2400 …), other controls and the bidirectional ones as U+FFFD. Newline and tab stay. Expects valid UTF-8.
std::string VisibleText(absl::string_view text);

// At most `digits` significant digits, without needless zeros: "0.125", "1.2e-07".
std::string NumberText(double value, int digits);

// "41 s", "3 min 10 s", "2 h 05 min"; "0 s" for what is negative, "—" for what is not known.
std::string DurationText(double seconds);

// For a <script type="application/json">. A string is pure ASCII, and nothing in it could end the element; a number
// that is not finite is null.
std::string JsonText(absl::string_view text);
std::string JsonNumber(double value, int digits);
std::string JsonNumbers(const std::vector<double>& values, int digits);

// A whole document in the style of web/page.css plus `style`; web/chart.js runs before `script`. `title` is text;
// `subtitle` and `body` are markup. The document runs no other script, should `body` hold one, and loads nothing but
// what its script fetches from where it came from.
std::string HtmlPage(absl::string_view title, absl::string_view subtitle, absl::string_view style,
                     absl::string_view body, absl::string_view script);

}  // namespace tactus
