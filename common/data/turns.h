// Which tokens of a completion the model sampled. Pure; thread-safe.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "common/data/types.h"

namespace tactus {

// The turns of a completion of `tokens` tokens; of one that is no conversation, the one turn that is all of it.
inline std::vector<Turn> TurnsOf(std::span<const Turn> turns, size_t tokens) {
  if (turns.empty()) return {{.start_token = 0, .num_tokens = static_cast<int>(tokens)}};
  return {turns.begin(), turns.end()};
}
inline std::vector<Turn> TurnsOf(const Completion& completion) {
  return TurnsOf(completion.turns, completion.token_ids.size());
}

// How many of the tokens [begin, end) the model sampled.
inline int64_t SampledBetween(const Completion& completion, int64_t begin, int64_t end) {
  int64_t sampled = 0;
  for (const Turn& turn : TurnsOf(completion)) {
    const int64_t from = std::max<int64_t>(begin, turn.start_token);
    sampled += std::max<int64_t>(0, std::min<int64_t>(end, int64_t{turn.start_token} + turn.num_tokens) - from);
  }
  return sampled;
}
inline int64_t SampledTokens(const Completion& completion) {
  return SampledBetween(completion, 0, static_cast<int64_t>(completion.token_ids.size()));
}

// The values of the sampled tokens, end to end: of [T] those in the turns.
template <typename T>
std::vector<T> OfSampled(std::span<const Turn> turns, std::span<const T> values) {
  std::vector<T> out;
  for (const Turn& turn : TurnsOf(turns, values.size())) {
    const std::span<const T> part = values.subspan(turn.start_token, turn.num_tokens);
    out.insert(out.end(), part.begin(), part.end());
  }
  return out;
}

// Of a value for each turn, or one that all share, that of every sampled token of a completion of `tokens`.
template <typename T>
std::vector<T> ForSampled(std::span<const Turn> turns, std::span<const T> values, size_t tokens) {
  std::vector<T> out;
  size_t k = 0;
  for (const Turn& turn : TurnsOf(turns, tokens)) {
    out.insert(out.end(), static_cast<size_t>(turn.num_tokens), values[values.size() == 1 ? 0 : k]);
    ++k;
  }
  return out;
}

// Where the sampled tokens stand in their completion of `tokens`: increasing.
inline std::vector<int32_t> PlacesOf(std::span<const Turn> turns, size_t tokens) {
  std::vector<int32_t> places;
  for (const Turn& turn : TurnsOf(turns, tokens)) {
    for (int i = 0; i < turn.num_tokens; ++i) places.push_back(turn.start_token + i);
  }
  return places;
}

// The turns whose tokens stand at `places` of `tokens`: the inverse of PlacesOf. nullopt: they are not increasing and
// within, or the first or the last token is not among them, as of a conversation they are.
inline std::optional<std::vector<Turn>> TurnsAt(std::span<const int32_t> places, size_t tokens) {
  std::vector<Turn> turns;
  int32_t next = -2;
  for (const int32_t place : places) {
    if (place < next || place < 0) return std::nullopt;
    if (place != next) turns.push_back({.start_token = place});
    ++turns.back().num_tokens;
    next = place + 1;
  }
  if (turns.empty() || turns.front().start_token != 0 || static_cast<size_t>(next) != tokens) return std::nullopt;
  return turns;
}

// Of the i-th of tokens at `places` (empty: one behind the other), i >= 1: whether the one before it stands right
// before it, so that both are of one turn.
inline bool GoesOn(std::span<const int32_t> places, size_t i) {
  return places.empty() || places[i] == places[i - 1] + 1;
}

// The inverse of OfSampled: [T] with the values in the turns, and 0 between them.
template <typename T>
std::vector<T> AmongTokens(std::span<const Turn> turns, std::span<const T> sampled, size_t tokens) {
  std::vector<T> out(tokens, T{0});
  size_t next = 0;
  for (const Turn& turn : TurnsOf(turns, tokens)) {
    std::copy_n(sampled.begin() + next, turn.num_tokens, out.begin() + turn.start_token);
    next += turn.num_tokens;
  }
  return out;
}

}  // namespace tactus
