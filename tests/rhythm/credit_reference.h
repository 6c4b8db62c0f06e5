// A slow reference for the credit weights: each strategy position by position, as the table of docs/rhythm.md has it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

#include "common/base/philox.h"
#include "common/rhythm/credit.h"

namespace tactus::reference {

// Whether t is among the `count` best: fewer than `count` candidates beat it.
inline bool IsTop(const std::vector<double>& values, const std::vector<int32_t>& candidates, int64_t count, int64_t t,
                  bool smallest) {
  if (std::ranges::count(candidates, t) == 0) return false;
  int64_t ahead = 0;
  for (const int32_t u : candidates) {
    const bool better = smallest ? values[u] < values[t] : values[u] > values[t];
    ahead += better || (values[u] == values[t] && u < t) ? 1 : 0;
  }
  return ahead < count;
}

// value - quantile, times the denominator: in long double exact for small whole numbers.
inline long double AboveQuantile(std::vector<double> values, Decimal p, double value) {
  std::sort(values.begin(), values.end());
  const int64_t scaled = p.numerator() * (static_cast<int64_t>(values.size()) - 1);
  const int64_t low = scaled / p.denominator();
  const int64_t high = std::min<int64_t>(low + 1, static_cast<int64_t>(values.size()) - 1);
  const auto rest = static_cast<long double>(scaled % p.denominator());
  const auto whole = static_cast<long double>(p.denominator());
  return whole * value - ((whole - rest) * values[low] + rest * values[high]);
}

// The token that introduced the anchor s, or -1 when s is not locally dominated.
inline int64_t IntroductionOf(const CreditParams& params, const Rhythm& rhythm, int64_t s) {
  int64_t intro = -1;
  for (int64_t u = std::max<int64_t>(0, s - params.lookback_tokens); u < s; ++u) {
    // As far apart in the text as in the list, or else the environment wrote something between the two.
    if (!rhythm.places.empty() && rhythm.places[s] - rhythm.places[u] != s - u) continue;
    if (intro < 0 || rhythm.delta[u] >= rhythm.delta[intro]) intro = u;
  }
  if (intro < 0 || AboveQuantile(rhythm.waad, params.waad_quantile, rhythm.waad[s]) > 0) return -1;
  return AboveQuantile(rhythm.delta, params.delta_quantile, rhythm.delta[intro]) >= 0 ? intro : -1;
}

// Which tenth of the answer a token is in: how many of the nine cuts lie at or before it.
inline int64_t TenthOf(int64_t t, int64_t tokens) {
  int64_t tenth = 0;
  for (int64_t cut = 1; cut <= 9; ++cut) tenth += 10 * t >= cut * tokens ? 1 : 0;
  return tenth;
}

// What token t has after the weights of each set of matching tokens are dealt out by their draws.
inline float Shuffled(CreditShuffle by, const CreditSignals& signals, const std::vector<float>& weights, int64_t t) {
  const auto tokens = static_cast<int64_t>(weights.size());
  const auto draw = [&](int64_t u) {
    return UniformDouble(TokenDraw(signals.seed, signals.prompt_id, signals.completion_index, static_cast<uint32_t>(u),
                                   DrawPurpose::kShuffledCredit));
  };
  const auto matches = [&](int64_t u) {
    const bool position = by == CreditShuffle::kKind || TenthOf(u, tokens) == TenthOf(t, tokens);
    return position && (by == CreditShuffle::kPosition || signals.kinds[u] == signals.kinds[t]);
  };
  int64_t place = 0;
  for (int64_t u = 0; u < t; ++u) place += matches(u) ? 1 : 0;
  for (int64_t u = 0; u < tokens; ++u) {
    int64_t smaller = 0;
    for (int64_t v = 0; v < tokens; ++v) smaller += matches(v) && draw(v) < draw(u) ? 1 : 0;
    if (matches(u) && smaller == place) return weights[u];
  }
  return -1;
}

inline std::vector<float> Weights(CreditKind kind, const CreditParams& params, const CreditSignals& signals) {
  const auto tokens = static_cast<int64_t>(signals.entropy.size());
  const int64_t count = std::max<int64_t>(1, params.q.numerator() * tokens / params.q.denominator());
  const double bonus = params.amplification - 1;
  std::vector<double> draws;
  for (int64_t t = 0; t < tokens; ++t) {
    draws.push_back(UniformDouble(TokenDraw(signals.seed, signals.prompt_id, signals.completion_index,
                                            static_cast<uint32_t>(t), DrawPurpose::kRandomCredit)));
  }
  std::vector<int32_t> all(signals.entropy.size());
  std::iota(all.begin(), all.end(), 0);
  const std::vector<double> entropy(signals.entropy.begin(), signals.entropy.end());
  const Rhythm none;
  const Rhythm& rhythm = signals.rhythm != nullptr ? *signals.rhythm : none;
  const auto anchor = [&](int64_t t) { return IsTop(rhythm.fai, rhythm.eligible, count, t, false); };
  const auto chosen = [&](int64_t t) {
    switch (kind) {
      case CreditKind::kRandom:
        return IsTop(draws, all, count, t, true);
      case CreditKind::kEntropy:
        return IsTop(entropy, all, count, t, false);
      case CreditKind::kLocalChunk:
        return IsTop(rhythm.delta, all, count, t, false);
      case CreditKind::kBottomDelta:
        return IsTop(rhythm.delta, all, count, t, true);
      case CreditKind::kBottomFai:
        return IsTop(rhythm.fai, rhythm.eligible, count, t, true);
      case CreditKind::kReceiver:
        return !rhythm.receiver_heads.empty() && IsTop(rhythm.receiver, rhythm.eligible, count, t, false);
      case CreditKind::kFlow:
        return signals.flow[t] > 0 && IsTop({signals.flow.begin(), signals.flow.end()}, all, count, t, false);
      case CreditKind::kVine:
        return signals.worth[t] > 0 && IsTop({signals.worth.begin(), signals.worth.end()}, all, count, t, false);
      case CreditKind::kGlobalAnchor:
        return anchor(t);
      default:
        return false;
    }
  };
  std::vector<float> weights;
  for (int64_t t = 0; t < tokens; ++t) {
    double weight = 1 + (chosen(t) ? bonus : 0);
    if (kind == CreditKind::kCoupled) {
      const bool dominated = IntroductionOf(params, rhythm, t) >= 0;
      bool introduces = false;
      for (int64_t s = t + 1; s < tokens; ++s) introduces |= anchor(s) && IntroductionOf(params, rhythm, s) == t;
      weight = 1 + (anchor(t) && !dominated ? bonus : 0) + (anchor(t) && dominated ? (1 - params.alpha) * bonus : 0) +
               (introduces ? params.alpha * bonus : 0);
    }
    weights.push_back(static_cast<float>(weight));
  }
  if (params.shuffle != CreditShuffle::kKept) {
    const std::vector<float> kept = weights;
    for (int64_t t = 0; t < tokens; ++t) weights[t] = Shuffled(params.shuffle, signals, kept, t);
  }
  return weights;
}

}  // namespace tactus::reference
