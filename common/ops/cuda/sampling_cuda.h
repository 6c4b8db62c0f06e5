// common/ops/cpu/sampling.h on a GPU: the same tokens for the same draws, log-probs and entropies up to rounding.
//
// Differences from the CPU: exponentials are CUDA's, and where top-p cuts is decided on masses rounded to 2^-40 of the
// most likely token's, so a draw within about 1e-6 of a boundary between two tokens may fall on the other side. Every
// sum has a fixed order: a row's result depends on that row alone, bit for bit.
//
// All arrays are in device memory that stays until the queue has run the call. Calls enqueue on the current queue,
// neither block nor allocate and can be recorded in a device::Graph. V is at most kMaxVocab, else
// std::invalid_argument. Logits that are not numbers give some token in [0, V) and a log-prob that is not a number.
#pragma once

#include <cstdint>

#include "common/ops/cpu/sampling.h"

namespace tactus::ops::cuda {

inline constexpr int64_t kMaxVocab = int64_t{1} << 20;

// logits [R, V], params [R], out [R].
void SampleRows(const float* logits, int64_t rows, int64_t vocab, const SamplingParams* params, SampledToken* out);

// logits [R, V], targets [R] in [0, V), out [R].
void LogProbRows(const float* logits, int64_t rows, int64_t vocab, const int32_t* targets, float temperature,
                 TokenLogProb* out);

}  // namespace tactus::ops::cuda
