#include "common/rhythm/credit.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstdlib>
#include <map>
#include <numeric>
#include <utility>

#include "common/base/philox.h"
#include "common/data/turns.h"
#include "common/rhythm/rhythm_stats.h"

namespace tactus {
namespace {

// Of the positions `order` the `count` with the largest values (all of them if there are fewer), increasing; ties to
// the earlier.
std::vector<int32_t> LargestOf(std::vector<int32_t> order, std::span<const double> values, int64_t count) {
  count = std::min(count, static_cast<int64_t>(order.size()));
  // A total order (position breaks ties), so an unstable selection has one result.
  std::nth_element(order.begin(), order.begin() + std::max<int64_t>(0, count - 1), order.end(),
                   [&](int32_t a, int32_t b) { return values[a] != values[b] ? values[a] > values[b] : a < b; });
  order.resize(count);
  std::sort(order.begin(), order.end());
  return order;
}

std::vector<int32_t> Largest(std::span<const double> values, int64_t count) {
  std::vector<int32_t> all(values.size());
  std::iota(all.begin(), all.end(), 0);
  return LargestOf(std::move(all), values, count);
}

// The same of those above 0.
std::vector<int32_t> LargestAboveZero(std::span<const double> values, int64_t count) {
  std::vector<int32_t> chosen = Largest(values, count);
  std::erase_if(chosen, [&](int32_t t) { return values[static_cast<size_t>(t)] <= 0; });
  return chosen;
}

int64_t CountOf(Decimal share, size_t total) {
  return total == 0 ? 0 : std::max<int64_t>(1, share.FloorOf(static_cast<int64_t>(total)));
}

// The smallest values are the largest ones negated, and ties stay with the earlier.
std::vector<double> Negated(std::span<const double> values) {
  std::vector<double> negated(values.begin(), values.end());
  for (double& value : negated) value = -value;
  return negated;
}

std::vector<double> RandomDraws(const CreditSignals& signals, DrawPurpose purpose) {
  std::vector<double> draws(signals.entropy.size());
  for (size_t t = 0; t < draws.size(); ++t) {
    draws[t] = UniformDouble(
        TokenDraw(signals.seed, signals.prompt_id, signals.completion_index, static_cast<uint32_t>(t), purpose));
  }
  return draws;
}

// What a strategy amplifies before any of it is moved elsewhere. Of FAI and receiver scores only eligible positions
// can be chosen, while the count is a share of all N.
std::vector<int32_t> Chosen(CreditKind kind, Decimal q, const CreditSignals& signals) {
  const size_t tokens = signals.entropy.size();
  const int64_t count = CountOf(q, tokens);
  const Rhythm* rhythm = signals.rhythm;
  switch (kind) {
    case CreditKind::kUniform:
      return {};
    case CreditKind::kRandom:
      return Largest(Negated(RandomDraws(signals, DrawPurpose::kRandomCredit)), count);
    case CreditKind::kEntropy:
      return Largest(std::vector<double>(signals.entropy.begin(), signals.entropy.end()), count);
    case CreditKind::kLocalChunk:
      return Largest(rhythm->delta, count);
    case CreditKind::kGlobalAnchor:
    case CreditKind::kCoupled:
      return LargestOf(rhythm->eligible, rhythm->fai, count);
    case CreditKind::kBottomDelta:
      return Largest(Negated(rhythm->delta), count);
    case CreditKind::kBottomFai:
      return LargestOf(rhythm->eligible, Negated(rhythm->fai), count);
    case CreditKind::kReceiver:
      if (rhythm->receiver_heads.empty()) return {};
      return LargestOf(rhythm->eligible, rhythm->receiver, count);
    case CreditKind::kFlow:
      return LargestAboveZero(signals.flow, count);
    case CreditKind::kVine:
      return LargestAboveZero(signals.worth, count);
  }
  std::abort();
}

// The token before s with the largest Delta, the latest on ties: of the k before s in its turn, or as many as there
// are. -1: s is the first.
int64_t Introduction(const Rhythm& rhythm, int64_t s, int64_t lookback_tokens) {
  int64_t best = -1;
  for (int64_t u = s - 1; u >= std::max<int64_t>(0, s - lookback_tokens); --u) {
    if (!GoesOn(rhythm.places, static_cast<size_t>(u + 1))) break;
    if (best < 0 || rhythm.delta[u] > rhythm.delta[best]) best = u;
  }
  return best;
}

// Adds the bonus of each anchor, part of it at the token that introduced the anchor where that is locally dominated.
void AddCoupled(const CreditParams& params, const Rhythm& rhythm, std::span<const int32_t> anchors, double bonus,
                std::vector<double>& weights) {
  const double waad_bound = Quantile(rhythm.waad, params.waad_quantile);
  const double delta_bound = Quantile(rhythm.delta, params.delta_quantile);
  std::vector<bool> introduces(weights.size(), false);
  for (const int32_t s : anchors) {
    const int64_t intro = Introduction(rhythm, s, params.lookback_tokens);
    const bool dominated = intro >= 0 && rhythm.waad[s] <= waad_bound && rhythm.delta[intro] >= delta_bound;
    weights[s] += dominated ? (1 - params.alpha) * bonus : bonus;
    if (dominated) introduces[intro] = true;
  }
  // A set: a token that introduces two anchors gets the bonus once.
  for (size_t t = 0; t < weights.size(); ++t) weights[t] += introduces[t] ? params.alpha * bonus : 0;
}

// Deals the weights of each set of matching tokens out anew: to its first token that of the token with the smallest
// draw, and so on.
void Shuffle(CreditShuffle by, const CreditSignals& signals, std::vector<double>& weights) {
  constexpr size_t kParts = 10;
  const bool position = by != CreditShuffle::kKind, kind = by != CreditShuffle::kPosition;
  assert(!kind || signals.kinds.size() == weights.size());
  std::map<std::pair<size_t, TokenKind>, std::vector<size_t>> sets;
  for (size_t t = 0; t < weights.size(); ++t) {
    sets[{position ? kParts * t / weights.size() : 0, kind ? signals.kinds[t] : TokenKind::kWord}].push_back(t);
  }
  const std::vector<double> draws = RandomDraws(signals, DrawPurpose::kShuffledCredit), old = weights;
  for (const auto& [key, tokens] : sets) {
    std::vector<size_t> from = tokens;
    std::ranges::stable_sort(from, {}, [&](size_t t) { return draws[t]; });
    for (size_t i = 0; i < tokens.size(); ++i) weights[tokens[i]] = old[from[i]];
  }
}

// Divides by the mean, where that is above 0.
void Normalize(std::vector<double>& weights) {
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  if (sum <= 0) return;
  for (double& weight : weights) weight *= static_cast<double>(weights.size()) / sum;
}

}  // namespace

bool ReadsAttention(CreditKind kind) {
  switch (kind) {
    case CreditKind::kUniform:
    case CreditKind::kRandom:
    case CreditKind::kEntropy:
    case CreditKind::kVine:
      return false;
    case CreditKind::kLocalChunk:
    case CreditKind::kGlobalAnchor:
    case CreditKind::kCoupled:
    case CreditKind::kBottomDelta:
    case CreditKind::kBottomFai:
    case CreditKind::kReceiver:
    case CreditKind::kFlow:
      return true;
  }
  std::abort();
}

std::vector<float> CreditWeights(CreditKind kind, const CreditParams& params, const CreditSignals& signals) {
  const size_t tokens = signals.entropy.size();
  assert(!ReadsAttention(kind) || (signals.rhythm != nullptr && signals.rhythm->waad.size() == tokens));
  std::vector<double> weights(tokens, 1.0);
  const std::vector<int32_t> chosen = Chosen(kind, params.q, signals);
  const double bonus = params.amplification - 1;
  if (kind == CreditKind::kCoupled) {
    if (!chosen.empty()) AddCoupled(params, *signals.rhythm, chosen, bonus, weights);
  } else {
    for (const int32_t t : chosen) weights[t] += bonus;
  }
  if (params.shuffle != CreditShuffle::kKept) Shuffle(params.shuffle, signals, weights);
  if (params.normalize) Normalize(weights);
  return {weights.begin(), weights.end()};
}

CreditBounds BoundsOf(CreditKind kind, const CreditParams& params) {
  if (kind == CreditKind::kUniform) return {};
  // A token of COUPLED can be an anchor and introduce another one. The sum of the two parts is rounded.
  const double bonus = (params.amplification - 1) * (kind == CreditKind::kCoupled ? 1 + params.alpha : 1);
  const double rounding = kind == CreditKind::kCoupled ? 1e-6 * std::abs(bonus) : 0;
  const double least = std::max(0.0, std::min(1.0, 1 + bonus - rounding)), most = std::max(1.0, 1 + bonus + rounding);
  if (!params.normalize) return {.min = static_cast<float>(least), .max = static_cast<float>(most)};
  // The mean lies between the two; the configuration refuses a least of 0 here.
  return {.min = static_cast<float>(least / most * (1 - 1e-6)), .max = static_cast<float>(most / least * (1 + 1e-6))};
}

std::vector<int32_t> TopPositions(std::span<const double> values, Decimal share) {
  return Largest(values, CountOf(share, values.size()));
}

}  // namespace tactus
