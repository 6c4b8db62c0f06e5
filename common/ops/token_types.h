// What is asked of a row of logits, and what comes of it, on every backend.
#pragma once

#include <cstdint>

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

struct TokenLogProb {
  float logprob = 0;  // of `target` under softmax(logits / temperature), nats
  float entropy = 0;  // at temperature 1, nats
  float max = 0;      // of the logits
  double sum = 0;     // of exp((logit - max) / temperature)
};

}  // namespace tactus::ops
