// What `tactus credit-study` has the engine do: answer a question, and go on from places in the answer many times.
// Blocks; an engine belongs to one thread. Errors are the engine's and the judge's.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "actor/engine/engine.h"
#include "common/tasks/judge.h"
#include "common/tokenizer/tokenizer.h"

namespace tactus {

struct ValueOptions {
  int samples = 32;      // K, even: the first half and the second are independent estimates
  int max_tokens = 256;  // of a whole answer
  uint64_t seed = 1;
  SamplingOptions sampling = {};
  std::vector<TokenId> stop_ids = {};
  absl::Duration judge_timeout = absl::Seconds(300);
};

// A question with its answer. `row` keys the draws: the same row gives the same answer and the same continuations.
struct AnsweredQuestion {
  uint64_t row = 0;
  Prompt prompt = {};
  Completion answer = {};  // with its reward
  std::unique_ptr<RhythmMeter> meter = nullptr;
};

// One answer, measured when the engine's probe has layers, and judged.
absl::StatusOr<AnsweredQuestion> AnswerQuestion(Engine& engine, const Tokenizer& tokenizer, Judge& judge, Prompt prompt,
                                                uint64_t row, const ValueOptions& options);

// V before a token: the mean total reward of K continuations, and that of each half of them.
struct PrefixValue {
  double mean = 0, first = 0, second = 0;
};

// For each of `lengths`: what the question and the first so many tokens of its answer promise. The whole answer's value
// is its reward, without a sample. lengths: from 0 to the answer's. A length's value depends on no other.
absl::StatusOr<std::vector<PrefixValue>> PrefixValues(Engine& engine, const Tokenizer& tokenizer, Judge& judge,
                                                      const AnsweredQuestion& question,
                                                      std::span<const int32_t> lengths, const ValueOptions& options);

}  // namespace tactus
