// The statistics of `tactus credit-study`: how well signals of a token find the tokens whose choice decided. What a
// token was worth is its advantage A = V(with it) - V(before it), V being the mean reward of sampled continuations
// (VinePPO, arXiv 2410.01679). docs/rhythm.md has the definitions. Pure functions; thread-safe. Every draw is Philox,
// keyed by `seed`: the same input gives the same figures.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/decimal.h"
#include "common/metrics/eval_stats.h"
#include "common/rhythm/token_kind.h"

namespace tactus {

// What one signal says of a response's probed tokens, [M] each.
struct Signal {
  std::string name = {};
  std::vector<double> score = {};  // ranks tokens
  std::vector<double> gamma = {};  // above the response's least: amplified
};

// One response, M of its N tokens probed.
struct Truth {
  int64_t tokens = 0;                           // N
  bool right = false;                           // the response's own verdict
  std::vector<int32_t> positions = {};          // [M] increasing
  std::vector<TokenKind> kinds = {};            // [M]
  std::vector<double> first = {}, second = {};  // [M] A by independent halves of the samples
  std::vector<Signal> signals = {};             // the same ones, in the same order, in every response
};

// The M = min(count, N) tokens to probe: one of each of M equal parts of the response, drawn.
std::vector<int32_t> ProbedTokens(int64_t tokens, int64_t count, uint64_t seed, uint64_t response);

struct SignalResult {
  std::string name;
  double share = 0;       // of the probed tokens that are amplified
  bool has_mass = false;  // the next three say something: some token is amplified, and A^2 is not 0 all over
  // Mean A^2 of the amplified tokens over that of all; A^2 is the product of the halves, whose noise is independent, so
  // noise of V is no credit. 1 where the signal knows nothing. Bootstrap over responses.
  Interval mass;
  Interval permuted;   // of `mass` with each response's weights dealt out anew among its probed tokens: middle 95 %
  double p_value = 1;  // two-sided, of those
  Interval rank;       // Spearman's correlation of score and |A|, of all tokens pooled
  Interval rank_given_position;  // the same, less what the place in the response explains: partial, of ranks
  Interval precision;  // of the floor(q M) tokens (at least 1) of the largest scores, how many are such of |A|
};

struct TruthSplit {
  std::string name;  // "all", "right", "wrong", "first third", …, "number", …
  int64_t responses = 0, tokens = 0;
  double mean_square = 0;  // mean A^2
  std::vector<SignalResult> signals;
};

struct TruthSummary {
  double precision_by_chance = 0;
  double noise = 0;  // mean over tokens of (A_1 - A_2)^2 / 4: the variance that sampling adds to A
  TruthSplit all;
  std::vector<TruthSplit> splits;  // mass alone; those with tokens
};
inline constexpr int kTruthReplicates = 1000;
// q: as credit.q. Of no responses all is 0 and no signal is there.
TruthSummary SummarizeTruth(const std::vector<Truth>& responses, Decimal q, uint64_t seed);

}  // namespace tactus
