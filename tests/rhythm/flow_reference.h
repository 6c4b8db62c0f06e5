// The flow of attention once more, by the whole matrix in float64 and by the steps of its definition: how likely a
// particle that has reached a token is to go on to each later one, and where a unit of particles passes. Nothing here
// is shared with common/rhythm but its types.
#pragma once

#include <cstdint>
#include <vector>

#include "common/rhythm/flow.h"

namespace tactus::reference {

struct DenseFlow {
  std::vector<double> reach;       // [P + N]
  std::vector<double> throughput;  // [P + N]
};

// rows [T][P + T]: row t of the mean attention; only what it pays to positions before P + t counts. others [T]: tokens
// of a conversation that the model did not sample, whose rows do not count, and where flow enters as in the prompt.
inline DenseFlow FlowOf(const std::vector<std::vector<double>>& rows, int64_t prompt, TokenRange answer,
                        const std::vector<bool>& others = {}) {
  const int64_t n = prompt + static_cast<int64_t>(rows.size());
  const auto given = [&](int64_t i) { return i < prompt || (!others.empty() && others[i - prompt]); };
  const auto capacity = [&](int64_t from, int64_t to) { return given(to) ? 0.0 : rows[to - prompt][from]; };
  const auto in_answer = [&](int64_t i) { return i >= prompt + answer.begin && i < prompt + answer.end; };
  DenseFlow flow{std::vector<double>(n, 0.0), std::vector<double>(n, 0.0)};
  double source = 0;
  for (int64_t i = n - 1; i >= 0; --i) {
    if (in_answer(i)) flow.reach[i] = 1;
    for (int64_t j = i + 1; j < n && !in_answer(i); ++j) flow.reach[i] += capacity(i, j) * flow.reach[j];
    if (given(i)) source += flow.reach[i];
  }
  if (source == 0) return flow;
  for (int64_t i = 0; i < n; ++i) {
    if (given(i)) flow.throughput[i] = flow.reach[i] / source;
    if (in_answer(i) || flow.throughput[i] == 0) continue;
    for (int64_t j = i + 1; j < n; ++j) {
      const double probability = capacity(i, j) * flow.reach[j] / flow.reach[i];
      flow.throughput[j] += flow.throughput[i] * probability;
    }
  }
  return flow;
}

}  // namespace tactus::reference
