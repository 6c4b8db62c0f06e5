#include "common/tasks/answer_region.h"

#include <algorithm>
#include <optional>
#include <string>

#include "common/tasks/answer_text.h"

namespace tactus {
namespace {

// The first token at whose end the text is longer than `bytes`.
int64_t TokenAfter(const Tokenizer& tokenizer, std::span<const TokenId> ids, size_t bytes) {
  int64_t low = 0, high = static_cast<int64_t>(ids.size()) - 1;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    const size_t length = DecodeLossy(tokenizer, ids.first(static_cast<size_t>(middle + 1)), false).size();
    if (length > bytes) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

}  // namespace

std::pair<int64_t, int64_t> AnswerRegion(const Tokenizer& tokenizer, std::span<const TokenId> ids,
                                         int64_t last_tokens) {
  const auto tokens = static_cast<int64_t>(ids.size());
  if (!ids.empty() && DecodeLossy(tokenizer, ids.last(1), /*skip_special_tokens=*/true).empty()) {
    ids = ids.first(ids.size() - 1);
  }
  const std::string text = DecodeLossy(tokenizer, ids, /*skip_special_tokens=*/false);
  const std::optional<MarkedText> answer = LastMarkedAnswer(text);
  if (!answer.has_value() || answer->text.empty()) return {std::max<int64_t>(0, tokens - last_tokens), tokens};
  const auto begin = static_cast<size_t>(answer->text.data() - text.data());
  return {TokenAfter(tokenizer, ids, begin), TokenAfter(tokenizer, ids, begin + answer->text.size() - 1) + 1};
}

}  // namespace tactus
