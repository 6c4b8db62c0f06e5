// From a row of logits to a token, its log-prob and the row's entropy, in two passes over the vocabulary.
// Pure functions of the row: thread-safe, and the same bits on the actor and the learner.
#pragma once

#include <cstdint>
#include <span>

#include "common/ops/token_types.h"

namespace tactus::ops {

// logits [R, V] row-major, params [R], out [R]. Rows are spread over the intra-op threads.
void SampleRows(const float* logits, int64_t vocab, std::span<const SamplingParams> params,
                std::span<SampledToken> out);

// logits [R, V], targets [R], out [R].
void LogProbRows(const float* logits, int64_t vocab, std::span<const int32_t> targets, float temperature,
                 std::span<TokenLogProb> out);

}  // namespace tactus::ops
