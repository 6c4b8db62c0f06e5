#include "tools/study/credit_truth.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace tactus {
namespace {

using ::testing::ElementsAre;

Decimal Share(const char* text) { return *Decimal::ParseShare(text, "share"); }

const SignalResult& Find(const TruthSplit& split, const std::string& name) {
  for (const SignalResult& one : split.signals) {
    if (one.name == name) return one;
  }
  ADD_FAILURE() << name;
  return split.signals.front();
}

// A tenth of the tokens decide (|A| = 0.5) and the others do not; V is seen through noise. ORACLE knows, BLIND draws,
// EARLY goes by position, which says nothing.
std::vector<Truth> MadeUp(int responses, double noise) {
  std::mt19937_64 random(7);
  std::normal_distribution<double> normal;
  std::vector<Truth> truths;
  for (int i = 0; i < responses; ++i) {
    Truth truth{.tokens = 60, .right = i % 2 == 0};
    Signal oracle{.name = "ORACLE"}, blind{.name = "BLIND"}, early{.name = "EARLY"}, none{.name = "NONE"};
    for (int32_t t = 0; t < 40; ++t) {
      const bool decides = random() % 10 == 0;
      const double worth = decides ? (random() % 2 == 0 ? 0.5 : -0.5) : 0;
      truth.positions.push_back(t);
      truth.kinds.push_back(decides ? TokenKind::kNumber : TokenKind::kWord);
      truth.first.push_back(worth + noise * normal(random));
      truth.second.push_back(worth + noise * normal(random));
      oracle.score.push_back(decides ? 1 : 0);
      oracle.gamma.push_back(decides ? 1.5 : 1);
      blind.score.push_back(static_cast<double>(random() % 1000));
      blind.gamma.push_back(random() % 5 == 0 ? 1.5 : 1);
      early.score.push_back(-t);
      early.gamma.push_back(t < 16 ? 1.5 : 1);
      none.score.push_back(0);
      none.gamma.push_back(1);
    }
    truth.signals = {oracle, blind, early, none};
    truths.push_back(truth);
  }
  return truths;
}

TEST(CreditTruthTest, FindsWhatFindsTheTokensThatDecide) {
  const TruthSummary summary = SummarizeTruth(MadeUp(120, 0.2), Share("0.1"), 3);
  EXPECT_EQ(summary.all.responses, 120);
  EXPECT_EQ(summary.all.tokens, 120 * 40);
  EXPECT_NEAR(summary.all.mean_square, 0.025, 0.003) << "noise is no credit";
  EXPECT_NEAR(summary.noise, 0.02, 0.002) << "half of 0.2^2";
  const SignalResult& oracle = Find(summary.all, "ORACLE");
  EXPECT_NEAR(oracle.share, 0.1, 0.01);
  EXPECT_NEAR(oracle.mass.value, 10, 1.2);
  EXPECT_GT(oracle.mass.low, 5);
  EXPECT_LT(oracle.p_value, 0.002);
  EXPECT_LT(oracle.permuted.low, 1);
  EXPECT_GT(oracle.permuted.high, 1);
  EXPECT_LT(oracle.permuted.high, 3);
  EXPECT_GT(oracle.rank.low, 0.2);
  EXPECT_GT(oracle.rank_given_position.low, 0.2);
  EXPECT_GT(oracle.precision.low, 2 * summary.precision_by_chance);
  for (const char* name : {"BLIND", "EARLY"}) {
    const SignalResult& other = Find(summary.all, name);
    EXPECT_LT(other.mass.low, 1) << name;
    EXPECT_GT(other.mass.high, 1) << name;
    EXPECT_GT(other.p_value, 0.01) << name;
    EXPECT_LT(std::abs(other.rank.value), 0.06) << name;
  }
  EXPECT_EQ(Find(summary.all, "NONE").share, 0);
  EXPECT_EQ(Find(summary.all, "NONE").mass.value, 0) << "nothing is amplified, so there is no figure";
}

TEST(CreditTruthTest, SplitsAddUp) {
  const std::vector<Truth> truths = MadeUp(40, 0.1);
  const TruthSummary summary = SummarizeTruth(truths, Share("0.4"), 3);
  int64_t verdicts = 0, thirds = 0, kinds = 0;
  for (const TruthSplit& split : summary.splits) {
    if (split.name == "right" || split.name == "wrong") verdicts += split.tokens;
    if (split.name.find("third") != std::string::npos) thirds += split.tokens;
    if (split.name == "number" || split.name == "word") kinds += split.tokens;
    if (split.name == "word") {
      EXPECT_NEAR(split.mean_square, 0, 0.001);
    } else if (split.name == "number") {
      EXPECT_NEAR(split.mean_square, 0.25, 0.03);
    }
  }
  EXPECT_EQ(verdicts, 40 * 40);
  EXPECT_EQ(thirds, 40 * 40);
  EXPECT_EQ(kinds, 40 * 40);
}

// Mass, ranks and precision once more, over all tokens, without sums by response.
TEST(CreditTruthTest, PointValuesAreThoseOfTheDefinitions) {
  std::vector<Truth> truths = MadeUp(9, 0.3);
  truths[4].positions.resize(7);  // of another length
  for (auto* list : {&truths[4].first, &truths[4].second}) list->resize(7);
  truths[4].kinds.resize(7);
  for (Signal& signal : truths[4].signals) signal.score.resize(7), signal.gamma.resize(7);
  const TruthSummary summary = SummarizeTruth(truths, Share("0.4"), 1);
  for (size_t s = 0; s < 3; ++s) {
    double all = 0, amplified = 0, tokens = 0, chosen = 0;
    std::vector<double> score, worth;
    for (const Truth& truth : truths) {
      for (size_t m = 0; m < truth.positions.size(); ++m) {
        const double square = truth.first[m] * truth.second[m];
        all += square, tokens += 1;
        if (truth.signals[s].gamma[m] > 1) amplified += square, chosen += 1;
        score.push_back(truth.signals[s].score[m]);
        worth.push_back(std::abs(truth.first[m] / 2 + truth.second[m] / 2));
      }
    }
    const SignalResult& result = summary.all.signals[s];
    EXPECT_NEAR(result.mass.value, amplified / chosen / (all / tokens), 1e-9);
    EXPECT_NEAR(result.share, chosen / tokens, 1e-12);
    // Spearman: each value's rank is 1 + how many are below it + half of the others like it.
    const auto rank = [](const std::vector<double>& values, double value) {
      double place = 0.5;
      for (const double other : values) place += other < value ? 1 : other == value ? 0.5 : 0;
      return place;
    };
    double mean = (tokens + 1) / 2, xy = 0, xx = 0, yy = 0;
    for (size_t i = 0; i < score.size(); ++i) {
      const double x = rank(score, score[i]) - mean, y = rank(worth, worth[i]) - mean;
      xy += x * y, xx += x * x, yy += y * y;
    }
    EXPECT_NEAR(result.rank.value, xy / std::sqrt(xx * yy), 1e-9);
  }
}

TEST(CreditTruthTest, IsReproducible) {
  const std::vector<Truth> truths = MadeUp(15, 0.2);
  const TruthSummary a = SummarizeTruth(truths, Share("0.4"), 5), b = SummarizeTruth(truths, Share("0.4"), 5);
  for (size_t s = 0; s < a.all.signals.size(); ++s) {
    EXPECT_EQ(a.all.signals[s].mass.low, b.all.signals[s].mass.low);
    EXPECT_EQ(a.all.signals[s].permuted.high, b.all.signals[s].permuted.high);
  }
  EXPECT_EQ(SummarizeTruth({}, Share("0.4"), 5).all.tokens, 0);
}

// Dealt out anew, the weights of a split's few tokens often all lie outside it: such a deal gives no ratio.
TEST(CreditTruthTest, ASplitOfOneTokenHasFigures) {
  std::vector<Truth> truths = MadeUp(1, 0.2);
  for (TokenKind& kind : truths[0].kinds) kind = TokenKind::kWord;
  truths[0].kinds[0] = TokenKind::kSpace;
  for (Signal& signal : truths[0].signals) signal.gamma.assign(40, 1), signal.gamma[0] = 1.5;
  const TruthSummary summary = SummarizeTruth(truths, Share("0.4"), 5);
  for (const TruthSplit& split : summary.splits) {
    if (split.name != "space") continue;
    const SignalResult& one = split.signals.front();
    EXPECT_EQ(split.tokens, 1);
    EXPECT_TRUE(one.has_mass);
    EXPECT_EQ(one.mass.value, 1);
    EXPECT_EQ(one.permuted.low, 1);
    EXPECT_EQ(one.permuted.high, 1);
    EXPECT_EQ(one.p_value, 1);
    return;
  }
  ADD_FAILURE() << "no split of that kind";
}

TEST(CreditTruthTest, NothingToTellApartIsNoFigure) {
  std::vector<Truth> truths = MadeUp(3, 0.2);
  for (Truth& truth : truths) truth.first.assign(40, 0), truth.second.assign(40, 0);
  const SignalResult result = SummarizeTruth(truths, Share("0.4"), 5).all.signals.front();
  EXPECT_FALSE(result.has_mass);
  EXPECT_GT(result.share, 0);
  EXPECT_EQ(result.rank.value, 0);
}

TEST(ProbedTokensTest, AreOneOfEachPart) {
  EXPECT_THAT(ProbedTokens(4, 16, 1, 0), ElementsAre(0, 1, 2, 3));
  EXPECT_TRUE(ProbedTokens(0, 16, 1, 0).empty());
  std::vector<int> seen(100);
  for (uint64_t response = 0; response < 2000; ++response) {
    const std::vector<int32_t> positions = ProbedTokens(100, 16, 1, response);
    ASSERT_EQ(positions.size(), 16u);
    for (size_t i = 0; i < 16; ++i) {
      EXPECT_GE(positions[i], static_cast<int32_t>(i * 100 / 16));
      EXPECT_LT(positions[i], static_cast<int32_t>((i + 1) * 100 / 16));
      ++seen[static_cast<size_t>(positions[i])];
    }
  }
  // A part has 6 or 7 tokens; the standard error of 2000 / 7 is 16.
  for (const int count : seen) EXPECT_NEAR(count, 310, 110);
}

}  // namespace
}  // namespace tactus
