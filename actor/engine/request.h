// What the engine is asked and what it answers. Plain values, not thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "common/data/types.h"
#include "common/rhythm/rhythm_meter.h"

namespace tactus {

struct SamplingOptions {
  float temperature = 1.0f;  // 0 = greedy
  float top_p = 1.0f;        // 1 = off
  int32_t top_k = 0;         // 0 = off
};

// G completions of one prompt. The prompt is computed once and its pages are shared.
struct EngineRequest {
  uint64_t request_id = 0;  // the caller's name for it, unique among the requests in the engine
  uint64_t prompt_id = 0;   // with `seed`, the completion index and the token index it keys the draws
  uint64_t seed = 0;
  std::vector<TokenId> prompt_ids;  // at least one
  int num_completions = 1;          // G
  int max_tokens = 0;               // of each completion
  SamplingOptions sampling;
  std::vector<TokenId> stop_ids;  // each ends a completion and stays its last token
  // When not empty: nothing is drawn, every completion is this one, and its log-probs (at sampling.temperature) are
  // what is wanted. stop_ids and max_tokens have no effect then.
  std::vector<TokenId> forced_ids;
  // Of a conversation that is given: how many of forced_ids each turn has. The caller continues it with what stands
  // between them, and concludes it after the last; max_tokens is all of forced_ids.
  std::vector<int> forced_turn_tokens;
  // Measure the attention rhythm of every completion. It then takes one more row, which reads its last token and draws
  // nothing; in a conversation each turn takes one, before it is told to have ended. keep_attention keeps the
  // distributions too: for single answers that people look at.
  bool measure_rhythm = false;
  bool keep_attention = false;
  // A conversation: a stop id, or so many tokens, ends a turn, and what was said waits for the caller, who continues it
  // with tokens of others or concludes it. max_tokens counts all of them. 0: the completion ends there.
  int max_turn_tokens = 0;
};

// A turn of a conversation that waits for Engine::Continue or Conclude.
struct EndedTurn {
  uint64_t request_id = 0;
  int completion_index = 0;
  int number = 0;                  // from 1
  std::vector<TokenId> token_ids;  // of the turn
  FinishReason reason = FinishReason::kStop;
  int tokens_left = 0;  // of max_tokens
};

// `completion` has tokens, log-probs, entropy, version spans, the turns of a conversation and finish reason; credit and
// rewards are the caller's.
struct FinishedCompletion {
  uint64_t request_id = 0;
  int completion_index = 0;
  Completion completion;
  std::unique_ptr<RhythmMeter> rhythm;  // null unless measured; holds a row of every token that the model sampled
};

}  // namespace tactus
