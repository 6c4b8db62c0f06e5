// Going on from a place in an answer, many times over, to see what the text up to there promises (after VinePPO, arXiv
// 2410.01679). Pure functions.
#pragma once

#include <span>

#include "actor/engine/request.h"
#include "common/data/types.h"

namespace tactus {

// Asks for `samples` continuations of the first `length` tokens of an answer, each as long as the answer could still
// have become. of_answer: as the answer itself was asked for; request_id and what keys the draws are the caller's to
// change. length: below max_tokens.
EngineRequest ContinuationRequest(EngineRequest of_answer, std::span<const TokenId> answer, int length, int samples);

// The first `length` tokens of an answer with what was sampled behind them, as a judge reads it: tokens and finish
// reason.
Completion ContinuedAnswer(std::span<const TokenId> answer, int length, const Completion& sampled);

}  // namespace tactus
