// Credit weights: one float32 per response token that multiplies its advantage at the learner; 1.0 is neutral.
// Pure functions; thread-safe. Formulas, counts and tie rules: docs/rhythm.md (after arXiv 2510.13554).
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "common/base/decimal.h"
#include "common/rhythm/rhythm.h"

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
  kReceiver
};

// Whether the weights of `kind` depend on attention, so that ComputeRhythm's result must be given.
bool ReadsAttention(CreditKind kind);

struct CreditParams {
  Decimal q = Decimal::Tenths(4);  // share amplified
  double amplification = 1.5;      // gamma_amp
  int64_t lookback_tokens = 3;     // k of COUPLED
  double alpha = 0.5;              // share of a dominated anchor's bonus that goes to the token that introduced it
  Decimal waad_quantile = Decimal::Tenths(5);   // tau_waad
  Decimal delta_quantile = Decimal::Tenths(6);  // tau_delta
};

// What is known about one completion of N tokens. A strategy reads what it needs.
struct CreditSignals {
  uint64_t seed = 0;  // with the next two: keys the random control
  uint64_t prompt_id = 0;
  uint32_t completion_index = 0;
  std::span<const float> entropy;  // [N] of the distribution each token was drawn from, nats
  const Rhythm* rhythm = nullptr;  // of N tokens; null when attention was not measured
};

// [N], N = entropy.size(). `rhythm` must be there when ReadsAttention(kind).
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
