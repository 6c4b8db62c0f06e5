#include "common/tasks/answer_text.h"

#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"

namespace tactus {
namespace {

constexpr absl::string_view kOpen = "<answer>";
constexpr absl::string_view kClose = "</answer>";
constexpr absl::string_view kBoxed = "\\boxed{";
constexpr absl::string_view kHashes = "####";
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
  const size_t mark = text.rfind(kHashes);
  if (mark == kNone) return std::nullopt;
  const size_t begin = mark + kHashes.size();
  const size_t end = std::min(text.find('\n', begin), text.size());
  return Between(text, begin, end, end);
}

std::optional<MarkedText> LastMarkedAnswer(absl::string_view text) {
  std::optional<MarkedText> last;
  for (const auto& found : {LastAnswerTag(text), LastBoxed(text), LastHashes(text)}) {
    if (found && (!last || found->end > last->end)) last = found;
  }
  return last;
}

}  // namespace tactus
