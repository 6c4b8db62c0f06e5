#include "common/tasks/answer_region.h"

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "common/data/turns.h"
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

using Region = std::pair<int64_t, int64_t>;

// Of what the last mark holds; none: there is no mark, or nothing in it.
std::optional<Region> MarkedRegion(const Tokenizer& tokenizer, std::span<const TokenId> ids) {
  if (!ids.empty() && DecodeLossy(tokenizer, ids.last(1), /*skip_special_tokens=*/true).empty()) {
    ids = ids.first(ids.size() - 1);
  }
  const std::string text = DecodeLossy(tokenizer, ids, /*skip_special_tokens=*/false);
  const std::optional<MarkedText> answer = LastMarkedAnswer(text);
  if (!answer.has_value() || answer->text.empty()) return std::nullopt;
  const auto begin = static_cast<size_t>(answer->text.data() - text.data());
  return Region{TokenAfter(tokenizer, ids, begin), TokenAfter(tokenizer, ids, begin + answer->text.size() - 1) + 1};
}

Region LastTokens(int64_t tokens, int64_t last_tokens) { return {std::max<int64_t>(0, tokens - last_tokens), tokens}; }

}  // namespace

Region AnswerRegion(const Tokenizer& tokenizer, std::span<const TokenId> ids, int64_t last_tokens) {
  return MarkedRegion(tokenizer, ids).value_or(LastTokens(static_cast<int64_t>(ids.size()), last_tokens));
}

Region AnswerRegion(const Tokenizer& tokenizer, const Completion& completion, int64_t last_tokens) {
  const std::vector<Turn> turns = TurnsOf(completion);
  const std::span<const TokenId> ids = completion.token_ids;
  const auto from = [](const Turn& turn, Region region) {
    return Region{turn.start_token + region.first, turn.start_token + region.second};
  };
  for (auto turn = turns.rbegin(); turn != turns.rend(); ++turn) {
    const auto marked = MarkedRegion(
        tokenizer, ids.subspan(static_cast<size_t>(turn->start_token), static_cast<size_t>(turn->num_tokens)));
    if (marked.has_value()) return from(*turn, *marked);
  }
  return from(turns.back(), LastTokens(turns.back().num_tokens, last_tokens));
}

}  // namespace tactus
