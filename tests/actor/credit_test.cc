#include "actor/credit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "common/base/philox.h"

namespace tactus {
namespace {

using config::CreditOptions;

CreditOptions Options(CreditOptions::Strategy strategy, const std::string& q = "0.4") {
  CreditOptions options;
  options.set_strategy(strategy);
  options.set_q(q);
  options.set_amplification(1.5);
  return options;
}

std::vector<float> Weights(const CreditOptions& options, const CreditSignals& signals) {
  return (*CreateCreditStrategy(options))->Weights(signals);
}

TEST(CreditTest, UniformIsNeutral) {
  const std::vector<float> entropy(3, 1.0f);
  EXPECT_EQ(Weights(Options(CreditOptions::UNIFORM), {.entropy = entropy}), std::vector<float>(3, 1.0f));
}

TEST(CreditTest, EntropyAmplifiesTheLargestAndTheEarlierOfTies) {
  const std::vector<float> entropy = {0.5f, 2.0f, 1.0f, 1.0f, 3.0f, 1.0f, 0.1f};  // ⌊0.4·7⌋ = 2
  EXPECT_EQ(Weights(Options(CreditOptions::ENTROPY), {.entropy = entropy}),
            (std::vector<float>{1, 1.5, 1, 1, 1.5, 1, 1}));
  EXPECT_EQ(Weights(Options(CreditOptions::ENTROPY, "0.5"), {.entropy = entropy}),
            (std::vector<float>{1, 1.5, 1.5, 1, 1.5, 1, 1}));
  EXPECT_EQ(Weights(Options(CreditOptions::ENTROPY, "0.01"), {.entropy = entropy}),
            (std::vector<float>{1, 1, 1, 1, 1.5, 1, 1}));  // at least one
  EXPECT_TRUE(Weights(Options(CreditOptions::ENTROPY), {}).empty());
}

TEST(CreditTest, RandomChoosesTheSmallestDraws) {
  const std::vector<float> entropy(50, 0.0f);
  const CreditSignals signals{.seed = 9, .prompt_id = 1234567890123, .completion_index = 5, .entropy = entropy};
  const std::vector<float> weights = Weights(Options(CreditOptions::RANDOM, "0.3"), signals);
  std::set<std::pair<double, int>> draws;
  for (int t = 0; t < 50; ++t) {
    draws.insert({UniformDouble(TokenDraw(9, 1234567890123, 5, t, DrawPurpose::kRandomCredit)), t});
  }
  std::vector<float> expected(50, 1.0f);
  for (int i = 0; i < 15; ++i, draws.erase(draws.begin())) expected[draws.begin()->second] = 1.5f;
  EXPECT_EQ(weights, expected);
  CreditSignals other = signals;
  other.completion_index = 6;
  EXPECT_NE(Weights(Options(CreditOptions::RANDOM, "0.3"), other), weights);
}

TEST(CreditTest, NamesTheFieldOfAMistake) {
  const auto strategy = CreateCreditStrategy(Options(CreditOptions::COUPLED));
  EXPECT_EQ(strategy.status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(strategy.status().message()), ::testing::HasSubstr("credit.strategy COUPLED"));
  const auto share = CreateCreditStrategy(Options(CreditOptions::ENTROPY, "1.5"));
  EXPECT_EQ(share.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(share.status().message()), ::testing::HasSubstr("credit.q"));
}

}  // namespace
}  // namespace tactus
