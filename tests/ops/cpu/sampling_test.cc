#include "common/ops/cpu/sampling.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/ops/reference.h"

namespace tactus::ops {
namespace {

std::vector<double> Softmax(const std::vector<float>& logits, double temperature) {
  std::vector<double> p(logits.begin(), logits.end());
  const double max = *std::max_element(p.begin(), p.end());
  double sum = 0;
  for (double& value : p) sum += (value = std::exp((value - max) / temperature));
  for (double& value : p) value /= sum;
  return p;
}

double Entropy(const std::vector<double>& p) {
  double sum = 0;
  for (const double value : p) sum -= value > 0 ? value * std::log(value) : 0;
  return sum;
}

SampledToken Sample(const std::vector<float>& logits, SamplingParams params) {
  SampledToken out;
  SampleRows(logits.data(), static_cast<int64_t>(logits.size()), std::span(&params, 1), std::span(&out, 1));
  return out;
}

TEST(LogProbTest, AgreesWithFloat64AtAnyWidthAndTemperature) {
  for (const int64_t vocab : {1, 15, 16, 250, 257, 49152}) {
    const std::vector<float> logits = RandomFloats(vocab, 1, 4.0f);
    for (const float temperature : {1.0f, 0.7f, 2.5f}) {
      const std::vector<double> p = Softmax(logits, temperature);
      for (const int32_t target : {0, static_cast<int32_t>(vocab / 2), static_cast<int32_t>(vocab - 1)}) {
        TokenLogProb out;
        LogProbRows(logits.data(), vocab, std::span(&target, 1), temperature, std::span(&out, 1));
        const double expected = std::log(p[static_cast<size_t>(target)]);
        EXPECT_NEAR(out.logprob, expected, 1e-6 * std::max(1.0, std::abs(expected)));
        EXPECT_NEAR(out.entropy, Entropy(Softmax(logits, 1)),
                    2e-6 * std::max(1.0, std::log(static_cast<double>(vocab))));
      }
    }
  }
}

// The draw inverts the cumulative distribution: u in the middle of a token's share gives that token.
TEST(SamplingTest, InvertsTheCumulativeDistribution) {
  const std::vector<float> logits = RandomFloats(1000, 2, 2.0f);
  const std::vector<double> p = Softmax(logits, 0.8);
  double before = 0;
  for (size_t token = 0; token < p.size(); ++token) {
    if (p[token] > 1e-5) {
      const SampledToken out = Sample(logits, {.temperature = 0.8f, .uniform = before + p[token] / 2});
      ASSERT_EQ(out.token, static_cast<int32_t>(token));
      ASSERT_NEAR(out.logprob, std::log(p[token]), 1e-5);
    }
    before += p[token];
  }
}

TEST(SamplingTest, ExtremesOfTheDrawGivePossibleTokens) {
  std::vector<float> logits(600, -1.0e4f);
  logits[300] = 5.0f;
  for (const double u : {0.0, 0.5, 0x1.fffffffffffffp-1}) EXPECT_EQ(Sample(logits, {.uniform = u}).token, 300);
}

TEST(SamplingTest, GreedyTakesTheFirstMaximum) {
  std::vector<float> logits = RandomFloats(100, 3);
  logits[40] = logits[70] = 50.0f;
  const SampledToken out = Sample(logits, {.temperature = 0.0f});
  EXPECT_EQ(out.token, 40);
  EXPECT_NEAR(out.logprob, std::log(0.5), 1e-6);
}

TEST(SamplingTest, TruncationRecordsTheTruncatedDistribution) {
  const std::vector<float> logits = {2.0f, 1.0f, 0.0f, -1.0f};
  const std::vector<double> p = Softmax(logits, 1);
  EXPECT_NEAR(Sample(logits, {.top_k = 2, .uniform = 0.99}).logprob, std::log(p[1] / (p[0] + p[1])), 1e-6);
  EXPECT_EQ(Sample(logits, {.top_k = 2, .uniform = 0.99}).token, 1);
  // p[0] = 0.64 alone reaches 0.6; 0.65 needs the second.
  EXPECT_NEAR(Sample(logits, {.top_p = 0.6f, .uniform = 0.99}).logprob, 0.0, 1e-6);
  EXPECT_NEAR(Sample(logits, {.top_p = 0.65f, .uniform = 0.1}).logprob, std::log(p[0] / (p[0] + p[1])), 1e-6);
  EXPECT_NEAR(Sample(logits, {.top_p = 0.6f, .uniform = 0.99}).entropy, Entropy(p), 1e-6);
}

// Bits, not closeness: the actor's sampled log-prob against the learner's recomputation.
TEST(SamplingTest, SampledLogProbHasTheBitsOfTheRecomputedOne) {
  const std::vector<float> logits = RandomFloats(4999, 4, 3.0f);
  for (int i = 0; i < 200; ++i) {
    const SampledToken drawn = Sample(logits, {.temperature = 0.9f, .uniform = (i + 0.5) / 200});
    TokenLogProb again;
    LogProbRows(logits.data(), 4999, std::span(&drawn.token, 1), 0.9f, std::span(&again, 1));
    ASSERT_EQ(drawn.logprob, again.logprob);
    ASSERT_EQ(drawn.entropy, again.entropy);
  }
}

TEST(ExpTest, WithinTwoUlpOfTheTruth) {
  ForEachKernelTable([](const Kernels& kernels) {
    for (float x = -87.0f; x < 0.01f; x += 0.0137f) {
      float values[16];
      std::fill_n(values, 16, x);
      kernels.softmax_scale(values, 16, 0.0f, 1.0f, 1.0f);
      const double truth = std::exp(static_cast<double>(x));
      ASSERT_NEAR(values[7], truth, 2 * 1.2e-7 * truth) << x;
    }
    float zero[16];
    std::fill_n(zero, 16, -200.0f);
    kernels.softmax_scale(zero, 16, 0.0f, 1.0f, 1.0f);
    EXPECT_EQ(zero[3], 0.0f);
  });
}

}  // namespace
}  // namespace tactus::ops
