#include "actor/engine/continuation.h"

#include <cassert>
#include <utility>

namespace tactus {

EngineRequest ContinuationRequest(EngineRequest of_answer, std::span<const TokenId> answer, int length, int samples) {
  assert(length < of_answer.max_tokens);
  EngineRequest request = std::move(of_answer);
  request.prompt_ids.insert(request.prompt_ids.end(), answer.begin(), answer.begin() + length);
  request.num_completions = samples;
  request.max_tokens -= length;
  request.measure_rhythm = false;
  return request;
}

Completion ContinuedAnswer(std::span<const TokenId> answer, int length, const Completion& sampled) {
  Completion whole;
  whole.token_ids.assign(answer.begin(), answer.begin() + length);
  whole.token_ids.insert(whole.token_ids.end(), sampled.token_ids.begin(), sampled.token_ids.end());
  whole.finish_reason = sampled.finish_reason;
  return whole;
}

}  // namespace tactus
