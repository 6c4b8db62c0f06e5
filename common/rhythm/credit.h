// Credit weights: one float32 per response token that multiplies its advantage at the learner; 1.0 is neutral.
// Pure functions; thread-safe. Formulas, counts and tie rules: docs/rhythm.md (after arXiv 2510.13554).
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "common/base/decimal.h"
#include "common/rhythm/rhythm.h"
#include "common/rhythm/token_kind.h"

namespace tactus {

enum class CreditKind {
  kUniform,
  kRandom,
  kEntropy,
  kLocalChunk,
  kGlobalAnchor,
  kCoupled,
  kBottomDelta,
  kBottomFai,
  kReceiver,
  kFlow,
  kVine
};

// Among which tokens of an answer a strategy's weights are dealt out anew, at random: those of the same tenth of it, of
// the same kind, or both. Each such set keeps the weights it has.
enum class CreditShuffle { kKept, kPosition, kKind, kPositionAndKind };

// Whether the weights of `kind` depend on attention, so that ComputeRhythm's result must be given.
bool ReadsAttention(CreditKind kind);

struct CreditParams {
  Decimal q = Decimal::Tenths(4);  // share amplified
  double amplification = 1.5;      // gamma_amp
  int64_t lookback_tokens = 3;     // k of COUPLED
  double alpha = 0.5;              // share of a dominated anchor's bonus that goes to the token that introduced it
  Decimal waad_quantile = Decimal::Tenths(5);   // tau_waad
  Decimal delta_quantile = Decimal::Tenths(6);  // tau_delta
  CreditShuffle shuffle = CreditShuffle::kKept;
  bool normalize = false;  // divide the weights by their mean
};

// What is known about one completion of which the model sampled N tokens. A strategy reads what it needs.
struct CreditSignals {
  uint64_t seed = 0;  // with the next two: keys the random controls
  uint64_t prompt_id = 0;
  uint32_t completion_index = 0;
  std::span<const float> entropy;         // [N] of the distribution each token was drawn from, nats
  const Rhythm* rhythm = nullptr;         // of N tokens; null when attention was not measured
  std::span<const TokenKind> kinds = {};  // [N], where tokens are shuffled by kind
  std::span<const double> flow = {};      // [N] throughput (flow.h), 0 where there is no credit; of FLOW
  std::span<const double> worth = {};     // [N] how much the token's chunk was worth (vine.h); of VINE
};

// [N], N = entropy.size(). `rhythm` must be there when ReadsAttention(kind), the others where they are read.
std::vector<float> CreditWeights(CreditKind kind, const CreditParams& params, const CreditSignals& signals);

// The least and the largest weight that CreditWeights can give a token.
struct CreditBounds {
  float min = 1;
  float max = 1;
};
CreditBounds BoundsOf(CreditKind kind, const CreditParams& params);

// The chosen positions, in increasing order: the max(1, share.FloorOf(N)) largest values, ties to the earlier.
std::vector<int32_t> TopPositions(std::span<const double> values, Decimal share);

}  // namespace tactus
