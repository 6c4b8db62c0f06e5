// From a row of logits to a token, its log-prob and the row's entropy, in two passes over the vocabulary.
// Pure functions of the row: thread-safe, and the same bits on the actor and the learner.
#pragma once

#include <cstdint>
#include <span>

#include "common/ops/cpu/parallel.h"  // SetThreads

namespace tactus::ops {

struct SamplingParams {
  float temperature = 1.0f;  // 0 = greedy; the log-prob is then at temperature 1
  float top_p = 1.0f;        // 1 = off
  int32_t top_k = 0;         // 0 = off
  double uniform = 0;        // the draw, in [0, 1)
};

struct SampledToken {
  int32_t token = 0;
  float logprob = 0;  // of the distribution drawn from, nats
  float entropy = 0;  // at temperature 1 over the full vocabulary, nats
};

// logits [R, V] row-major, params [R], out [R]. Rows are spread over the intra-op threads.
void SampleRows(const float* logits, int64_t vocab, std::span<const SamplingParams> params,
                std::span<SampledToken> out);

struct TokenLogProb {
  float logprob = 0;  // of `target` under softmax(logits / temperature), nats
  float entropy = 0;  // at temperature 1, nats
  float max = 0;      // of the logits
  double sum = 0;     // of exp((logit - max) / temperature)
};
// logits [R, V], targets [R], out [R].
void LogProbRows(const float* logits, int64_t vocab, std::span<const int32_t> targets, float temperature,
                 std::span<TokenLogProb> out);

}  // namespace tactus::ops
