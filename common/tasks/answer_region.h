// Which tokens of a completion are its answer: where the flow of attention ends (common/rhythm/flow.h). Thread-safe.
#pragma once

#include <cstdint>
#include <span>
#include <utility>

#include "common/data/types.h"
#include "common/tokenizer/tokenizer.h"

namespace tactus {

// The first, and one past the last, of a completion's tokens that have a part of what the last mark of an answer holds
// (LastMarkedAnswer, answer_text.h), which verifiers judge; where the text has no such mark, or nothing in it, of the
// last `last_tokens`, or all there are. A special token at the end, such as one that stops, is no part of the text.
std::pair<int64_t, int64_t> AnswerRegion(const Tokenizer& tokenizer, std::span<const TokenId> ids, int64_t last_tokens);

// The same of a conversation, each turn's text by itself: what others wrote is no answer of the model's. It is the last
// mark of the last turn that has one, else the last tokens of the last turn. No turns: the whole completion is one.
std::pair<int64_t, int64_t> AnswerRegion(const Tokenizer& tokenizer, const Completion& completion, int64_t last_tokens);

}  // namespace tactus
