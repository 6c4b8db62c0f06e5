// The perturbation study of `tactus rhythm-study perturb` (Table 1 of arXiv 2510.13554): tokens of high and of low FAI
// are replaced by the runner-up, the model goes on greedily, and what it writes is compared with the response's own
// rest.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "actor/engine/engine.h"
#include "common/base/decimal.h"
#include "common/tokenizer/tokenizer.h"
#include "tools/batch/rhythm_jsonl.h"
#include "tools/study/rhythm_study.h"

namespace tactus {

struct PerturbOptions {
  size_t peaks_per_response = 2;
  int continue_tokens = 64;  // compared, of both continuations
  Decimal peak_quantile = Decimal::Tenths(8);
  uint64_t seed = 1;
  std::vector<TokenId> stop_ids = {};
};

// Means over the responses of `words`; the same are in `tokens`.
struct PerturbComparison {
  PairedResult words, tokens;                // Jaccard of content words, and of token ids
  double high_place = 0, low_place = 0;      // index of the replaced tokens
  double high_entropy = 0, low_entropy = 0;  // of the distribution they were drawn from, nats
};

struct PerturbResult {
  int64_t places = 0;                 // replaced tokens
  int64_t no_runner_up = 0;           // not replaced: study_runs.h
  int64_t stops = 0;                  // not replaced: the runner-up ends the response
  PerturbComparison matched, lowest;  // peaks against ProbedPositions::matched and ::lowest
};

// A token is only replaced where continue_tokens more are there to compare with, or the response ended by a stop id. A
// response's value is the mean over its places of one kind; a pair of which one side was not replaced is left out of
// `matched`. `responses` were measured, with the engine's model. Blocks. InvalidArgument: an id the tokenizer does not
// have; or the engine's errors.
absl::StatusOr<PerturbResult> Perturb(Engine& engine, const Tokenizer& tokenizer,
                                      std::span<const MeasuredResponse> responses, const PerturbOptions& options);

}  // namespace tactus
