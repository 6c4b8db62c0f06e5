#include "common/ops/cpu/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "common/ops/cpu/kernels.h"
#include "common/ops/cpu/parallel.h"

namespace tactus::ops {
namespace {

float LogProbOf(const float* logits, int32_t token, float inverse_temperature, const SoftmaxStats& stats) {
  const double scaled = (static_cast<double>(logits[token]) - stats.max) * inverse_temperature;
  return static_cast<float>(scaled - std::log(stats.sum));
}

int32_t ArgMax(const float* logits, int64_t vocab) {
  return static_cast<int32_t>(std::max_element(logits, logits + vocab) - logits);
}

// Where the running sum of the softmax passes `uniform`: first the block, then the token in it.
int32_t DrawToken(const float* logits, int64_t vocab, float inverse_temperature, const SoftmaxStats& stats,
                  const std::vector<float>& block_sums, double uniform, std::vector<float>& scratch) {
  const double target = uniform * stats.sum;
  const size_t blocks = static_cast<size_t>((vocab + kSoftmaxBlock - 1) / kSoftmaxBlock);
  double before = 0;
  size_t block = 0;
  while (block + 1 < blocks && before + block_sums[block] <= target) before += block_sums[block++];
  const int64_t begin = static_cast<int64_t>(block) * kSoftmaxBlock;
  const int64_t count = std::min(kSoftmaxBlock, vocab - begin);
  scratch.assign(logits + begin, logits + begin + count);
  ActiveKernels().softmax_scale(scratch.data(), count, stats.max, inverse_temperature, 1.0f);
  int64_t last_possible = 0;  // rounding may leave the target past the block's end: never draw an impossible token
  for (int64_t j = 0; j < count; ++j) {
    if (scratch[static_cast<size_t>(j)] <= 0) continue;
    last_possible = j;
    before += scratch[static_cast<size_t>(j)];
    if (before > target) break;
  }
  return static_cast<int32_t>(begin + last_possible);
}

// Keeps the top_k most likely tokens, then of those the fewest that reach top_p; the rest become impossible.
void Truncate(const SamplingParams& params, const SoftmaxStats& stats, float inverse_temperature,
              std::vector<float>& logits) {
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return logits[static_cast<size_t>(a)] > logits[static_cast<size_t>(b)];
  });
  size_t keep = order.size();
  if (params.top_k > 0) keep = std::min(keep, static_cast<size_t>(params.top_k));
  if (params.top_p < 1.0f) {
    double mass = 0;
    for (size_t i = 0; i < keep; ++i) {
      mass += std::exp((static_cast<double>(logits[static_cast<size_t>(order[i])]) - stats.max) * inverse_temperature);
      if (mass >= params.top_p * stats.sum) keep = i + 1;
    }
  }
  for (size_t i = keep; i < order.size(); ++i) logits[static_cast<size_t>(order[i])] = -1.0e30f;
}

SampledToken SampleRow(const float* logits, int64_t vocab, const SamplingParams& params) {
  const Kernels& kernels = ActiveKernels();
  thread_local std::vector<float> block_sums, scratch, truncated;
  block_sums.resize(static_cast<size_t>((vocab + kSoftmaxBlock - 1) / kSoftmaxBlock));
  SampledToken out;
  if (params.temperature <= 0) {
    const SoftmaxStats stats = kernels.softmax_stats(logits, vocab, 1.0f, nullptr);
    out.token = ArgMax(logits, vocab);
    out.logprob = LogProbOf(logits, out.token, 1.0f, stats);
    out.entropy = static_cast<float>(stats.entropy);
    return out;
  }
  const float inverse = 1.0f / params.temperature;
  SoftmaxStats stats = kernels.softmax_stats(logits, vocab, inverse, block_sums.data());
  out.entropy = static_cast<float>(stats.entropy);
  if (params.top_k > 0 || params.top_p < 1.0f) {
    truncated.assign(logits, logits + vocab);
    Truncate(params, stats, inverse, truncated);
    logits = truncated.data();
    stats = kernels.softmax_stats(logits, vocab, inverse, block_sums.data());
  }
  out.token = DrawToken(logits, vocab, inverse, stats, block_sums, params.uniform, scratch);
  out.logprob = LogProbOf(logits, out.token, inverse, stats);
  return out;
}

}  // namespace

void SampleRows(const float* logits, int64_t vocab, std::span<const SamplingParams> params,
                std::span<SampledToken> out) {
  ParallelFor(static_cast<int64_t>(params.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const size_t i = static_cast<size_t>(r);
      out[i] = SampleRow(logits + r * vocab, vocab, params[i]);
    }
  });
}

void LogProbRows(const float* logits, int64_t vocab, std::span<const int32_t> targets, float temperature,
                 std::span<TokenLogProb> out) {
  const float inverse = 1.0f / temperature;
  ParallelFor(static_cast<int64_t>(targets.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const size_t i = static_cast<size_t>(r);
      const float* row = logits + r * vocab;
      const SoftmaxStats stats = ActiveKernels().softmax_stats(row, vocab, inverse, nullptr);
      out[i].logprob = LogProbOf(row, targets[i], inverse, stats);
      out[i].entropy = static_cast<float>(stats.entropy);
      out[i].max = stats.max;
      out[i].sum = stats.sum;
    }
  });
}

}  // namespace tactus::ops
