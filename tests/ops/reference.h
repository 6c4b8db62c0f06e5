// Slow, clear float64 versions of the ops: what every kernel is held against. Kept for ever.
#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "common/ops/cpu/kernels.h"

namespace tactus::ops {

inline std::vector<float> RandomFloats(int64_t count, uint64_t seed, float scale = 1.0f) {
  std::mt19937_64 generator(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(generator);
  return values;
}

// Attention probabilities of one query over keys 0 … last. k: key j at k + j * stride.
inline std::vector<double> ReferenceProbs(const float* q, const float* k, int64_t stride, int64_t last, int64_t d) {
  std::vector<double> p(static_cast<size_t>(last + 1));
  double max = -1e300, sum = 0;
  for (int64_t j = 0; j <= last; ++j) {
    double score = 0;
    for (int64_t c = 0; c < d; ++c) score += static_cast<double>(q[c]) * k[j * stride + c];
    p[static_cast<size_t>(j)] = score / std::sqrt(static_cast<double>(d));
    max = std::max(max, p[static_cast<size_t>(j)]);
  }
  for (double& value : p) sum += (value = std::exp(value - max));
  for (double& value : p) value /= sum;
  return p;
}

// Runs a test body once for every kernel table this CPU has.
template <typename Fn>
void ForEachKernelTable(Fn fn) {
  int count = 0;
  const Kernels* const* tables = RunnableKernels(&count);
  for (int i = 0; i < count; ++i) fn(*tables[i]);
}

}  // namespace tactus::ops
