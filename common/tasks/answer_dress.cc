#include "common/tasks/answer_dress.h"

#include <utility>

#include "absl/strings/strip.h"
#include "common/tasks/text_scan.h"

namespace tactus {
namespace {

constexpr absl::string_view kTextCommands[] = {"\\text",   "\\textbf", "\\textit", "\\textrm", "\\textnormal",
                                               "\\mathrm", "\\mathbf", "\\mathit", "\\mbox",   "\\operatorname"};
constexpr std::pair<absl::string_view, absl::string_view> kAround[] = {
    {"**", "**"}, {"$$", "$$"}, {"$", "$"}, {"\\(", "\\)"}, {"\\[", "\\]"}, {"'", "'"}, {"\"", "\""}};

bool TakeOff(absl::string_view* text, absl::string_view open, absl::string_view close) {
  absl::string_view inside = *text;
  if (!absl::ConsumePrefix(&inside, open) || !absl::ConsumeSuffix(&inside, close)) return false;
  *text = inside;
  return true;
}

bool TakeOffOne(absl::string_view* text) {
  for (const auto& [open, close] : kAround) {
    if (TakeOff(text, open, close)) return true;
  }
  absl::string_view rest = *text;
  if (const auto inside = ConsumeTextCommand(&rest); inside && rest.empty()) {
    *text = *inside;
    return true;
  }
  return text->size() == 3 && TakeOff(text, "(", ")");
}

}  // namespace

std::optional<absl::string_view> ConsumeBraces(absl::string_view* text) {
  if (text->empty() || text->front() != '{') return std::nullopt;
  int64_t open = 0;
  for (size_t at = 0; at < text->size(); at += (*text)[at] == '\\' ? 2 : 1) {
    open += (*text)[at] == '{' ? 1 : (*text)[at] == '}' ? -1 : 0;
    if (open > 0) continue;
    const absl::string_view inside = text->substr(1, at - 1);
    text->remove_prefix(at + 1);
    return inside;
  }
  return std::nullopt;
}

std::optional<absl::string_view> ConsumeTextCommand(absl::string_view* text) {
  for (const absl::string_view command : kTextCommands) {
    absl::string_view rest = *text;
    if (!absl::ConsumePrefix(&rest, command)) continue;
    const auto inside = ConsumeBraces(&rest);
    if (!inside) continue;
    *text = rest;
    return inside;
  }
  return std::nullopt;
}

absl::string_view Undress(absl::string_view text) {
  for (int i = 0; i <= kMaxDress; ++i) {
    text = StripSpace(text);
    absl::ConsumeSuffix(&text, ".");
    text = StripSpace(text);
    if (i == kMaxDress || !TakeOffOne(&text)) break;
  }
  return text;
}

}  // namespace tactus
