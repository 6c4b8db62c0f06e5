#include "common/tasks/answer_text.h"

#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "common/tasks/number_text.h"

namespace tactus {
namespace {

constexpr absl::string_view kOpen = "<answer>";
constexpr absl::string_view kClose = "</answer>";
constexpr absl::string_view kBoxed = "\\boxed{";
constexpr size_t kHashes = 4;
constexpr absl::string_view kWhiteSpace = " \t\n\v\f\r";
constexpr size_t kNone = absl::string_view::npos;

MarkedText Between(absl::string_view text, size_t begin, size_t end, size_t mark_end) {
  return {absl::StripAsciiWhitespace(text.substr(begin, end - begin)), mark_end};
}

}  // namespace

std::optional<MarkedText> LastAnswerTag(absl::string_view text) {
  std::optional<MarkedText> last;
  size_t open_end = kNone;  // where the text of the nearest open tag begins
  for (size_t at = text.find('<'); at != kNone; at = text.find('<', at + 1)) {
    if (text.compare(at, kOpen.size(), kOpen) == 0) {
      open_end = at + kOpen.size();
    } else if (open_end != kNone && text.compare(at, kClose.size(), kClose) == 0) {
      last = Between(text, open_end, at, at + kClose.size());
      open_end = kNone;
    }
  }
  return last;
}

std::optional<MarkedText> LastBoxed(absl::string_view text) {
  std::optional<MarkedText> last;
  std::vector<size_t> open;  // per open brace: where a box's content begins, kNone for any other brace
  for (size_t at = text.find_first_of("\\{}"); at < text.size(); at = text.find_first_of("\\{}", at)) {
    if (text.compare(at, kBoxed.size(), kBoxed) == 0) {
      at += kBoxed.size();
      open.push_back(at);
      continue;
    }
    if (text[at] == '{') open.push_back(kNone);
    if (text[at] == '}' && !open.empty()) {
      if (open.back() != kNone) last = Between(text, open.back(), at, at + 1);
      open.pop_back();
    }
    at += text[at] == '\\' ? 2 : 1;  // what follows a backslash is escaped
  }
  return last;
}

std::optional<MarkedText> LastHashes(absl::string_view text) {
  const size_t text_end = text.find_last_not_of(kWhiteSpace) + 1;  // 0: nothing but white space
  size_t after = text.size();                                      // where the marks looked at so far begin
  size_t line_end = text.size();
  while (true) {
    const size_t last = text.rfind('#', after == 0 ? kNone : after - 1);
    if (after == 0 || last == kNone) return std::nullopt;
    const size_t begin = last + 1;
    line_end = std::min(text.substr(0, after).find('\n', begin), line_end);
    const size_t before = text.find_last_not_of('#', last);
    after = before == kNone ? 0 : before + 1;
    if (begin - after != kHashes) continue;
    if (line_end >= text_end || ParseNumber(text.substr(begin, line_end - begin))) {
      return Between(text, begin, line_end, line_end);
    }
  }
}

std::optional<MarkedText> LastMarkedAnswer(absl::string_view text) {
  std::optional<MarkedText> last = LastAnswerTag(text);
  if (const auto boxed = LastBoxed(text); boxed && (!last || boxed->end > last->end)) last = boxed;
  const auto hashes = LastHashes(text);
  if (hashes && (!last || (hashes->end > last->end && ParseNumber(hashes->text)))) last = hashes;
  return last;
}

}  // namespace tactus
