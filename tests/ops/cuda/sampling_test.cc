// Sampling and log-probs on a GPU, against the CPU's (whose own tests hold it against float64 loops) and such loops.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "common/ops/cuda/sampling_cuda.h"
#include "tests/ops/cuda/device_array.h"

namespace tactus::ops::cuda {
namespace {

std::vector<SampledToken> SampleOnDevice(const std::vector<float>& logits, int64_t vocab,
                                         const std::vector<SamplingParams>& params) {
  const DeviceArray<float> device_logits(logits);
  const DeviceArray<SamplingParams> device_params(params);
  DeviceArray<SampledToken> out(params.size());
  SampleRows(device_logits.get(), static_cast<int64_t>(params.size()), vocab, device_params.get(), out.get());
  return out.Read();
}

std::vector<SampledToken> SampleOnHost(const std::vector<float>& logits, int64_t vocab,
                                       const std::vector<SamplingParams>& params) {
  std::vector<SampledToken> out(params.size());
  ops::SampleRows(logits.data(), vocab, params, out);
  return out;
}

// Logits of one row, repeated for each of `params`.
std::vector<float> Repeat(const std::vector<float>& row, size_t times) {
  std::vector<float> all;
  for (size_t i = 0; i < times; ++i) all.insert(all.end(), row.begin(), row.end());
  return all;
}

// The CPU's tokens exactly: a draw within rounding of a boundary between tokens is not among these.
void ExpectSame(const std::vector<float>& logits, int64_t vocab, const std::vector<SamplingParams>& params) {
  const std::vector<SampledToken> expected = SampleOnHost(logits, vocab, params);
  const std::vector<SampledToken> actual = InEveryOrder([&] { return SampleOnDevice(logits, vocab, params); });
  for (size_t i = 0; i < params.size(); ++i) {
    SCOPED_TRACE(testing::Message() << "row " << i << ": temperature " << params[i].temperature << ", top_p "
                                    << params[i].top_p << ", top_k " << params[i].top_k << ", " << params[i].uniform);
    ASSERT_EQ(actual[i].token, expected[i].token);
    // A sum of exponentials is off by a few 2^-24 of itself, so its logarithm by as much.
    ASSERT_NEAR(actual[i].logprob, expected[i].logprob, 2e-6 * (1 + std::abs(expected[i].logprob)));
    ASSERT_NEAR(actual[i].entropy, expected[i].entropy, 2e-6 * (1 + expected[i].entropy));
  }
}

TEST(SampleRowsTest, DrawsTheCpusTokens) {
  NEED_GPU();
  for (const int64_t vocab : {1, 7, 256, 257, 1300}) {
    SCOPED_TRACE(testing::Message() << "vocabulary of " << vocab);
    std::mt19937_64 generator(static_cast<uint64_t>(vocab));
    std::uniform_real_distribution<double> uniform(0, 1);
    std::vector<SamplingParams> params;
    for (const float temperature : {0.0f, 0.5f, 1.0f, 1.7f}) {
      params.push_back({.temperature = temperature, .uniform = uniform(generator)});
      params.push_back({.temperature = temperature, .top_k = 5, .uniform = uniform(generator)});
      params.push_back({.temperature = temperature, .top_p = 0.7f, .uniform = uniform(generator)});
      params.push_back({.temperature = temperature, .top_p = 0.9f, .top_k = 20, .uniform = uniform(generator)});
    }
    params.push_back({.uniform = 0.0});
    params.push_back({.uniform = 0.99999999999});
    params.push_back({.top_p = 0.0f, .uniform = 0.5});
    params.push_back({.top_p = 1e-6f, .uniform = 0.99});
    params.push_back({.top_k = 1, .uniform = 0.99});
    params.push_back({.top_k = static_cast<int32_t>(vocab), .uniform = 0.3});
    params.push_back({.top_k = 1 << 30, .uniform = 0.3});
    ExpectSame(RandomArray<float>(params.size() * static_cast<size_t>(vocab), 3, 3.0f), vocab, params);
  }
}

// More blocks of tokens than a block has warps.
TEST(SampleRowsTest, DrawsTheCpusTokensFromALargeVocabulary) {
  NEED_GPU();
  constexpr int64_t kVocab = 10007;
  const std::vector<SamplingParams> params = {{.uniform = 0.37},
                                              {.temperature = 0.8f, .top_p = 0.95f, .uniform = 0.77}};
  const std::vector<float> logits = RandomArray<float>(params.size() * kVocab, 6, 3.0f);
  const std::vector<SampledToken> expected = SampleOnHost(logits, kVocab, params);
  const std::vector<SampledToken> actual = SampleOnDevice(logits, kVocab, params);
  for (size_t i = 0; i < params.size(); ++i) {
    EXPECT_EQ(actual[i].token, expected[i].token);
    EXPECT_NEAR(actual[i].logprob, expected[i].logprob, 2e-5);
  }
}

TEST(SampleRowsTest, OfEqualLogitsTheFirstStay) {
  NEED_GPU();
  std::vector<float> row(700, -1.0f);
  for (const size_t i : {3u, 200u, 256u, 300u, 640u, 699u}) row[i] = 2.0f;
  for (const size_t i : {10u, 500u}) row[i] = 4.0f;
  row[20] = 0.0f;
  row[21] = -0.0f;
  std::vector<SamplingParams> params;
  for (const double uniform : {0.01, 0.6, 0.95}) {
    for (const int32_t top_k : {1, 2, 3, 5, 8, 9, 10, 40}) params.push_back({.top_k = top_k, .uniform = uniform});
    for (const float top_p : {0.1f, 0.3f, 0.45f, 0.6f, 0.62f}) params.push_back({.top_p = top_p, .uniform = uniform});
  }
  ExpectSame(Repeat(row, params.size()), 700, params);
}

TEST(SampleRowsTest, ImpossibleTokensAreNeverDrawn) {
  NEED_GPU();
  std::vector<float> row(600, -INFINITY);
  row[257] = 1.0f;
  row[400] = 1.0f;
  std::vector<SamplingParams> params;
  for (const double uniform : {0.0, 0.25, 0.5, 0.75, 0.9999999999999999}) params.push_back({.uniform = uniform});
  const std::vector<SampledToken> out = SampleOnDevice(Repeat(row, params.size()), 600, params);
  for (size_t i = 0; i < params.size(); ++i) {
    EXPECT_EQ(out[i].token, params[i].uniform < 0.5 ? 257 : 400) << i;
    EXPECT_NEAR(out[i].logprob, -std::log(2.0f), 1e-6);
    EXPECT_NEAR(out[i].entropy, std::log(2.0f), 1e-6);
  }
}

TEST(SampleRowsTest, TokensComeAsOftenAsTheirProbabilities) {
  NEED_GPU();
  constexpr int64_t kVocab = 300;
  constexpr size_t kDraws = 1000;  // evenly spread draws: a token's count is off by less than 2
  const std::vector<float> row = RandomArray<float>(kVocab, 8, 2.0f);
  std::vector<SamplingParams> params(kDraws);
  for (size_t i = 0; i < kDraws; ++i) params[i].uniform = (static_cast<double>(i) + 0.5) / kDraws;
  const std::vector<SampledToken> out = SampleOnDevice(Repeat(row, kDraws), kVocab, params);
  std::vector<double> count(kVocab);
  for (const SampledToken& token : out) count[static_cast<size_t>(token.token)] += 1;
  double sum = 0;
  for (const float x : row) sum += std::exp(static_cast<double>(x));
  for (size_t i = 0; i < kVocab; ++i) {
    EXPECT_NEAR(count[i], kDraws * std::exp(static_cast<double>(row[i])) / sum, 1.01) << i;
  }
}

TEST(SampleRowsTest, LogitsThatAreNoNumbersStayInTheVocabulary) {
  NEED_GPU();
  const std::vector<float> logits(300, std::nanf(""));
  for (const SamplingParams& params :
       {SamplingParams{.temperature = 0}, SamplingParams{.uniform = 0.7}, SamplingParams{.top_p = 0.5f, .top_k = 3}}) {
    const std::vector<SampledToken> out = SampleOnDevice(logits, 300, {params});
    EXPECT_GE(out[0].token, 0);
    EXPECT_LT(out[0].token, 300);
    EXPECT_TRUE(std::isnan(out[0].logprob));
  }
}

TEST(SampleRowsTest, RefusesAVocabularyItHasNoRoomFor) {
  EXPECT_THROW(SampleRows(nullptr, 1, kMaxVocab + 1, nullptr, nullptr), std::invalid_argument);
  EXPECT_THROW(LogProbRows(nullptr, 1, 0, nullptr, 1.0f, nullptr), std::invalid_argument);
}

TEST(LogProbRowsTest, MatchesFloat64Loops) {
  NEED_GPU();
  for (const int64_t vocab : {1, 31, 256, 1025}) {
    for (const float temperature : {1.0f, 0.6f}) {
      constexpr size_t kRows = 5;
      const size_t width = static_cast<size_t>(vocab);
      const std::vector<float> logits = RandomArray<float>(kRows * width, 4, 4.0f);
      std::vector<int32_t> targets;
      for (size_t r = 0; r < kRows; ++r) targets.push_back(static_cast<int32_t>((r * 97) % width));
      const DeviceArray<float> device_logits(logits);
      const DeviceArray<int32_t> device_targets(targets);
      const auto run = [&] {
        DeviceArray<TokenLogProb> out(kRows);
        LogProbRows(device_logits.get(), kRows, vocab, device_targets.get(), temperature, out.get());
        return out.Read();
      };
      const std::vector<TokenLogProb> out = InEveryOrder(run);
      for (size_t r = 0; r < kRows; ++r) {
        const float* row = logits.data() + r * width;
        const double max = *std::max_element(row, row + vocab);
        double sum = 0, plain = 0, weighted = 0;
        for (size_t j = 0; j < width; ++j) {
          const double e = std::exp(row[j] - max);
          sum += std::exp((row[j] - max) / temperature);
          plain += e;
          weighted += e * (row[j] - max);
        }
        const double logprob = (row[targets[r]] - max) / temperature - std::log(sum);
        EXPECT_NEAR(out[r].logprob, logprob, 2e-6 * (1 + std::abs(logprob)));
        EXPECT_NEAR(out[r].entropy, std::log(plain) - weighted / plain, 1e-5);
        EXPECT_EQ(out[r].max, static_cast<float>(max));
        EXPECT_NEAR(out[r].sum, sum, 2e-6 * sum);
      }
    }
  }
}

}  // namespace
}  // namespace tactus::ops::cuda
