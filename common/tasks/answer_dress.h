// What an answer wears without it meaning anything: Markdown's bold, the dollar signs and brackets of LaTeX's maths,
// its text commands. Views into the argument; linear time; thread-safe.
#pragma once

#include <optional>

#include "absl/strings/string_view.h"

namespace tactus {

// The inside of a group in braces that *text begins with, nested and escaped ones paired; *text goes past it. None, and
// *text stays: it begins with something else, or the group does not end.
std::optional<absl::string_view> ConsumeBraces(absl::string_view* text);

// The same for a command that only says how its text looks: "\text{...}", "\textbf{...}", "\mathrm{...}", "\mbox{...}".
std::optional<absl::string_view> ConsumeTextCommand(absl::string_view* text);

// Without white space, "**", "$", "$$", "\( \)", "\[ \]", quotation marks and text commands around the whole of it, up
// to kMaxDress of them; without the parentheses of "(B)" around one character, and without a full stop at the end.
inline constexpr int kMaxDress = 8;
absl::string_view Undress(absl::string_view text);

}  // namespace tactus
