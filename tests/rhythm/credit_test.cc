#include "common/rhythm/credit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "tests/rhythm/credit_reference.h"

namespace tactus {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Ge;
using ::testing::IsEmpty;
using ::testing::Le;

constexpr CreditKind kAll[] = {CreditKind::kUniform,     CreditKind::kRandom,       CreditKind::kEntropy,
                               CreditKind::kLocalChunk,  CreditKind::kGlobalAnchor, CreditKind::kCoupled,
                               CreditKind::kBottomDelta, CreditKind::kBottomFai,    CreditKind::kReceiver,
                               CreditKind::kFlow,        CreditKind::kVine};

Decimal Share(const char* text) { return *Decimal::ParseShare(text, "share"); }

// Values are small whole numbers, so that ties and equality with a quantile are common and exact.
struct Case {
  std::vector<float> entropy;
  Rhythm rhythm;
  std::vector<double> flow, worth;
  std::vector<TokenKind> kinds;
};

Case RandomCase(std::mt19937_64& random, int64_t tokens) {
  Case drawn;
  const int levels = 2 + static_cast<int>(random() % 12);
  const auto values = [&] {
    std::vector<double> list(tokens);
    for (double& value : list) value = static_cast<double>(random() % levels);
    return list;
  };
  const std::vector<double> entropy = values();
  drawn.entropy.assign(entropy.begin(), entropy.end());
  drawn.rhythm.waad = values();
  drawn.rhythm.delta = values();
  drawn.rhythm.fai = values();
  drawn.rhythm.receiver = values();
  const bool conversation = random() % 2 == 0;
  const int64_t eligible = std::max<int64_t>(0, tokens - static_cast<int64_t>(random() % 12));
  for (int32_t t = 0; t < (conversation ? tokens : eligible); ++t) {
    if (!conversation || random() % 4 != 0) drawn.rhythm.eligible.push_back(t);
    if (conversation) {
      const int32_t last = t == 0 ? -1 : drawn.rhythm.places.back();
      drawn.rhythm.places.push_back(last + (t > 0 && random() % 5 == 0 ? 1 + static_cast<int32_t>(random() % 6) : 1));
    }
  }
  if (random() % 8 != 0) drawn.rhythm.receiver_heads = {1};
  drawn.flow = values();
  drawn.worth = values();
  for (int64_t t = 0; t < tokens; ++t) drawn.kinds.push_back(static_cast<TokenKind>(random() % kTokenKinds));
  return drawn;
}

TEST(CreditTest, MatchesTheReferenceWithManyTies) {
  std::mt19937_64 random(1);
  const char* shares[] = {"0.4", "0.1", "0.25", "0.333333333", "1", "0.05"};
  const char* quantiles[] = {"0.5", "0.6", "0", "1", "0.75", "0.123456789"};
  const CreditShuffle shuffles[] = {CreditShuffle::kKept, CreditShuffle::kPosition, CreditShuffle::kKind,
                                    CreditShuffle::kPositionAndKind};
  int moved = 0;
  for (int trial = 0; trial < 4000; ++trial) {
    const auto tokens = static_cast<int64_t>(random() % 40);
    const Case drawn = RandomCase(random, tokens);
    const CreditParams params{.q = Share(shares[random() % 6]),
                              .amplification = random() % 2 ? 1.5 : 0.7,
                              .lookback_tokens = 1 + static_cast<int64_t>(random() % 5),
                              .alpha = static_cast<double>(random() % 5) / 4,
                              .waad_quantile = Share(quantiles[random() % 6]),
                              .delta_quantile = Share(quantiles[random() % 6]),
                              .shuffle = shuffles[random() % 8 < 4 ? 0 : random() % 4]};
    const CreditSignals signals{.seed = random(),
                                .prompt_id = random(),
                                .completion_index = static_cast<uint32_t>(random() % 100),
                                .entropy = drawn.entropy,
                                .rhythm = &drawn.rhythm,
                                .kinds = drawn.kinds,
                                .flow = drawn.flow,
                                .worth = drawn.worth};
    for (const CreditKind kind : kAll) {
      ASSERT_EQ(CreditWeights(kind, params, signals), reference::Weights(kind, params, signals))
          << "trial " << trial << " kind " << static_cast<int>(kind);
      const CreditBounds bounds = BoundsOf(kind, params);
      ASSERT_THAT(CreditWeights(kind, params, signals), Each(AllOf(Ge(bounds.min), Le(bounds.max))));
    }
    moved += CreditWeights(CreditKind::kCoupled, params, signals) !=
             CreditWeights(CreditKind::kGlobalAnchor, params, signals);
  }
  EXPECT_GT(moved, 1000) << "otherwise the cases say nothing about COUPLED";
}

TEST(CreditTest, BoundsAreNoWiderThanTheStrategyNeeds) {
  const CreditParams params{.amplification = 1.5, .alpha = 0.5};
  for (const CreditKind kind : kAll) {
    const CreditBounds bounds = BoundsOf(kind, params);
    EXPECT_EQ(bounds.min, 1);
    EXPECT_NEAR(bounds.max, kind == CreditKind::kUniform ? 1 : kind == CreditKind::kCoupled ? 1.75 : 1.5, 1e-5);
  }
  EXPECT_NEAR(BoundsOf(CreditKind::kEntropy, {.amplification = 0.25}).min, 0.25, 1e-6);
  EXPECT_EQ(BoundsOf(CreditKind::kEntropy, {.amplification = 0.25}).max, 1);
}

// Weights of a mean of 1, in the ratios they had.
TEST(CreditTest, NormalizedWeightsAddNothing) {
  std::mt19937_64 random(2);
  for (int trial = 0; trial < 500; ++trial) {
    const auto tokens = static_cast<int64_t>(1 + random() % 200);
    const Case drawn = RandomCase(random, tokens);
    CreditParams params{.q = Share("0.4"), .amplification = random() % 2 ? 3 : 0.6};
    const CreditSignals signals{
        .seed = random(), .entropy = drawn.entropy, .rhythm = &drawn.rhythm, .kinds = drawn.kinds, .flow = drawn.flow};
    for (const CreditKind kind : kAll) {
      params.normalize = false;
      const std::vector<float> plain = CreditWeights(kind, params, signals);
      params.normalize = true;
      const std::vector<float> weights = CreditWeights(kind, params, signals);
      const CreditBounds bounds = BoundsOf(kind, params);
      EXPECT_THAT(weights, Each(AllOf(Ge(bounds.min), Le(bounds.max))));
      double mean = 0, plain_mean = 0;
      for (int64_t t = 0; t < tokens; ++t) {
        mean += double{weights[t]} / static_cast<double>(tokens);
        plain_mean += double{plain[t]} / static_cast<double>(tokens);
      }
      ASSERT_NEAR(mean, 1, 1e-6);
      for (int64_t t = 0; t < tokens; ++t) ASSERT_NEAR(weights[t] * plain_mean, plain[t], 1e-6 * plain[t]) << t;
    }
  }
}

TEST(CreditTest, NothingIsAddedWhereAllWeightsAreZero) {
  const std::vector<float> entropy = {1.0f};
  EXPECT_THAT(CreditWeights(CreditKind::kEntropy, {.amplification = 0, .normalize = true}, {.entropy = entropy}),
              ElementsAre(0));
}

// Every matching set keeps its weights, and within it any token is as likely as another to get one: 20 tokens of two
// kinds, the amplified ones first.
TEST(CreditTest, ShuffledWeightsStayInTheirSet) {
  constexpr int kTrials = 4000;
  const std::vector<float> entropy = {9, 8, 7, 6, 5, 4, 3, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};  // 8 are chosen
  std::vector<TokenKind> kinds;
  for (int t = 0; t < 20; ++t) kinds.push_back(t % 4 == 0 ? TokenKind::kNumber : TokenKind::kWord);
  std::vector<double> mean(20);
  for (uint64_t prompt = 0; prompt < kTrials; ++prompt) {
    const std::vector<float> weights =
        CreditWeights(CreditKind::kEntropy, {.amplification = 2, .shuffle = CreditShuffle::kKind},
                      {.seed = 3, .prompt_id = prompt, .entropy = entropy, .kinds = kinds});
    float numbers = 0, words = 0;
    for (int t = 0; t < 20; ++t) (t % 4 == 0 ? numbers : words) += weights[t] - 1;
    ASSERT_EQ(numbers, 2);  // tokens 0 and 4
    ASSERT_EQ(words, 6);
    for (int t = 0; t < 20; ++t) mean[t] += (weights[t] - 1) / kTrials;
  }
  // The standard error of a share of 0.4 is 0.008.
  for (int t = 0; t < 20; ++t) EXPECT_NEAR(mean[t], t % 4 == 0 ? 2.0 / 5 : 6.0 / 15, 0.04) << t;
  const std::vector<float> near = CreditWeights(CreditKind::kEntropy, {.shuffle = CreditShuffle::kPosition},
                                                {.seed = 3, .entropy = entropy, .kinds = kinds});
  EXPECT_THAT(near, ElementsAre(1.5, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1))
      << "a tenth is two tokens, which are alike here";
}

TEST(CreditTest, EntropyAmplifiesTheLargestAndTheEarlierOfTies) {
  const std::vector<float> entropy = {0.5f, 2.0f, 1.0f, 1.0f, 3.0f, 1.0f, 0.1f};  // ⌊0.4·7⌋ = 2
  const auto weights = [&](const char* q) {
    return CreditWeights(CreditKind::kEntropy, {.q = Share(q)}, {.entropy = entropy});
  };
  EXPECT_THAT(weights("0.4"), ElementsAre(1, 1.5, 1, 1, 1.5, 1, 1));
  EXPECT_THAT(weights("0.5"), ElementsAre(1, 1.5, 1.5, 1, 1.5, 1, 1));
  EXPECT_THAT(weights("0.01"), ElementsAre(1, 1, 1, 1, 1.5, 1, 1)) << "at least one";
}

TEST(CreditTest, RandomIsKeyedByCompletion) {
  const std::vector<float> entropy(50, 0.0f);
  CreditSignals signals{.seed = 9, .prompt_id = 1234567890123, .completion_index = 5, .entropy = entropy};
  const std::vector<float> weights = CreditWeights(CreditKind::kRandom, {}, signals);
  EXPECT_EQ(std::count(weights.begin(), weights.end(), 1.5f), 20);
  for (const bool prompt : {true, false}) {
    CreditSignals other = signals;
    (prompt ? other.prompt_id : other.seed) += 1;
    EXPECT_NE(CreditWeights(CreditKind::kRandom, {}, other), weights);
  }
  signals.completion_index = 6;
  EXPECT_NE(CreditWeights(CreditKind::kRandom, {}, signals), weights);
}

// q = 0.5 of 12, all eligible: anchors are 0, 3, 4, 7, 9 and 11; the median WAAD is 3 and the 0.6 quantile of Delta
// (0 0 1 1 2 2 2 2 5 5 6 7, between places 6 and 7) is 2.
TEST(CreditTest, CoupledMovesPartOfADominatedAnchorsBonus) {
  Rhythm rhythm;
  rhythm.fai = {9, 0, 0, 9, 9, 0, 0, 9, 0, 9, 0, 9};
  rhythm.waad = {1, 4, 4, 3, 3, 4, 5, 3, 9, 4, 1, 1};
  rhythm.delta = {2, 5, 5, 1, 2, 2, 0, 7, 6, 2, 1, 0};
  rhythm.eligible = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
  const std::vector<float> entropy(12, 0.0f);
  const CreditParams params{.q = Share("0.5"), .amplification = 2};
  // 0: nothing before it, so it keeps its bonus. 3 and 4: both introduced by 2 (the later of the tie 1, 2), which gets
  // its half once. 7: introduced by 5 (Delta 2 = the quantile; the later of the tie 4, 5). 9: WAAD 4 is above the
  // median, full bonus. 11: introduced by 8, though not by 7, which is 4 back.
  EXPECT_THAT(CreditWeights(CreditKind::kCoupled, params, {.entropy = entropy, .rhythm = &rhythm}),
              ElementsAre(2, 1, 1.5, 1.5, 1.5, 1.5, 1, 1.5, 1.5, 2, 1, 1.5));
}

TEST(CreditTest, CoupledTermsAdd) {
  // Both tokens 1 and 2 are anchors and dominated, and 1 introduces 2: (1-α)·b + α·b.
  Rhythm rhythm;
  rhythm.fai = {0, 9, 9, 0};
  rhythm.waad = {3, 1, 1, 3};
  rhythm.delta = {2, 2, 0, 0};
  rhythm.eligible = {0, 1, 2, 3};
  const std::vector<float> entropy(4, 0.0f);
  EXPECT_THAT(
      CreditWeights(CreditKind::kCoupled, {.q = Share("0.5"), .alpha = 0.25}, {.entropy = entropy, .rhythm = &rhythm}),
      ElementsAre(1.125, 1.5, 1.375, 1));
}

// Tokens 0 to 2 are one turn, 3 to 5 the next: 3 and 5 are anchors, and Delta is largest at the end of the first turn.
TEST(CreditTest, WhatIntroducesAnAnchorIsOfItsTurn) {
  Rhythm rhythm;
  rhythm.fai = {0, 0, 0, 9, 0, 9};
  rhythm.waad = {5, 5, 5, 1, 1, 1};
  rhythm.delta = {0, 9, 9, 0, 8, 0};
  rhythm.eligible = {0, 1, 2, 3, 4, 5};
  const std::vector<float> entropy(6, 0.0f);
  const CreditParams params{.q = Share("0.4"), .amplification = 2};
  const auto weights = [&] {
    return CreditWeights(CreditKind::kCoupled, params, {.entropy = entropy, .rhythm = &rhythm});
  };
  EXPECT_THAT(weights(), ElementsAre(1, 1, 1.5, 1.5, 1, 1.5)) << "one answer";
  rhythm.places = {0, 1, 2, 4, 5, 6};
  EXPECT_THAT(weights(), ElementsAre(1, 1, 1, 2, 1.5, 1.5)) << "3 has nothing before it in its turn";
}

TEST(CreditTest, OnlyEligiblePositionsAreAnchors) {
  Rhythm rhythm;
  rhythm.fai = {1, 0, 0, 0, 0};
  rhythm.receiver = {0, 1, 0, 0, 0};
  rhythm.receiver_heads = {0};
  rhythm.waad = rhythm.delta = std::vector<double>(5, 1.0);
  const std::vector<float> entropy(5, 0.0f);
  const CreditSignals signals{.entropy = entropy, .rhythm = &rhythm};
  rhythm.eligible = {0, 1};  // fewer than ⌊0.8·5⌋
  const CreditParams params{.q = Share("0.8")};
  for (const CreditKind kind : {CreditKind::kGlobalAnchor, CreditKind::kBottomFai, CreditKind::kReceiver}) {
    EXPECT_THAT(CreditWeights(kind, params, signals), ElementsAre(1.5, 1.5, 1, 1, 1));
  }
  rhythm.eligible = {};
  rhythm.receiver_heads = {};
  for (const CreditKind kind :
       {CreditKind::kGlobalAnchor, CreditKind::kBottomFai, CreditKind::kReceiver, CreditKind::kCoupled}) {
    EXPECT_THAT(CreditWeights(kind, params, signals), Each(1.0f));
  }
}

TEST(CreditTest, EmptyAndSingleTokens) {
  for (const CreditKind kind : kAll) {
    const Rhythm none;
    for (const CreditShuffle shuffle : {CreditShuffle::kKept, CreditShuffle::kPosition}) {
      EXPECT_THAT(CreditWeights(kind, {.shuffle = shuffle, .normalize = true}, {.entropy = {}, .rhythm = &none}),
                  IsEmpty());
    }
    Rhythm one;
    one.waad = {2};
    one.delta = one.fai = one.receiver = {0};
    const std::vector<float> entropy = {1.0f};
    const std::vector<double> flow = {0.0};
    const bool amplified = kind == CreditKind::kRandom || kind == CreditKind::kEntropy ||
                           kind == CreditKind::kLocalChunk || kind == CreditKind::kBottomDelta;
    EXPECT_THAT(CreditWeights(kind, {}, {.entropy = entropy, .rhythm = &one, .flow = flow, .worth = flow}),
                ElementsAre(amplified ? 1.5f : 1.0f));
  }
}

TEST(CreditTest, KnowsWhichStrategiesReadAttention) {
  for (const CreditKind kind : kAll) {
    const bool reads = kind != CreditKind::kUniform && kind != CreditKind::kRandom && kind != CreditKind::kEntropy &&
                       kind != CreditKind::kVine;
    EXPECT_EQ(ReadsAttention(kind), reads);
  }
}

TEST(TopPositionsTest, CountsExactlyAndTakesTheEarlierOfTies) {
  EXPECT_THAT(TopPositions(std::vector<double>{1, 3, 2, 3, 3}, Share("0.4")), ElementsAre(1, 3));
  EXPECT_THAT(TopPositions(std::vector<double>{1, 3}, Share("0.01")), ElementsAre(1));
  EXPECT_THAT(TopPositions(std::vector<double>{1, 3}, Share("1")), ElementsAre(0, 1));
  EXPECT_THAT(TopPositions({}, Share("1")), IsEmpty());
  EXPECT_EQ(TopPositions(std::vector<double>(10, 1.0), Share("0.7")).size(), 7u);
}

}  // namespace
}  // namespace tactus
