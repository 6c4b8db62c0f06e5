// What a choice of credit does to the policy's gradient: attention of a made-up response goes through the rhythm, the
// strategy and the real loss, whose gradient is held against finite differences and against UNIFORM's times gamma.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "common/rhythm/credit.h"
#include "common/rhythm/flow.h"
#include "common/rhythm/rhythm.h"
#include "learner/algo/policy_loss.h"
#include "tests/rhythm/credit_reference.h"
#include "tests/rhythm/flow_reference.h"
#include "tests/rhythm/reference.h"

namespace tactus {
namespace {

constexpr int64_t kTokens = 130;  // longer than the longest horizon
constexpr CreditKind kKinds[] = {CreditKind::kRandom,       CreditKind::kEntropy,  CreditKind::kLocalChunk,
                                 CreditKind::kGlobalAnchor, CreditKind::kCoupled,  CreditKind::kBottomDelta,
                                 CreditKind::kBottomFai,    CreditKind::kReceiver, CreditKind::kFlow,
                                 CreditKind::kVine};
constexpr TokenRange kAnswer{120, 126};

RhythmOptions Window(int64_t window_tokens, int64_t horizon_max_tokens) {
  return {.window_tokens = window_tokens, .horizon_max_tokens = horizon_max_tokens};
}

class CreditGradientTest : public ::testing::Test {
 protected:
  CreditGradientTest() {
    std::mt19937_64 random(5);
    std::normal_distribution<double> normal;
    attention_ = reference::RandomAttention(random, 12, 9, kTokens);
    for (int64_t t = 0; t < kTokens; ++t) {
      entropy_.push_back(static_cast<float>(std::fabs(normal(random))));
      logp_old_.push_back(-1 + 0.3 * normal(random));
      logp_new_.push_back(logp_old_.back() + 0.02 * normal(random));  // inside the clip range
      logp_behavior_.push_back(logp_old_.back() + 0.1 * normal(random));
    }
    for (int64_t t = 0; t < kTokens; ++t) worth_.push_back(std::fabs(normal(random)));
  }

  CreditSignals Signals(const Rhythm& rhythm, const std::vector<double>& flow) const {
    return {.seed = 3,
            .prompt_id = 11,
            .completion_index = 2,
            .entropy = entropy_,
            .rhythm = &rhythm,
            .flow = flow,
            .worth = worth_};
  }

  // [N][P + N] of head 3, in numbers that float32 holds.
  std::vector<std::vector<double>> FlowAttention() const {
    std::vector<std::vector<double>> rows(kTokens, std::vector<double>(attention_.prompt + kTokens));
    for (int64_t t = 0; t < kTokens; ++t) {
      for (int64_t j = 0; j <= attention_.prompt + t; ++j) {
        rows[t][j] = double{static_cast<float>(attention_.At(3, t, j))};
      }
    }
    return rows;
  }

  std::vector<float> Gamma(CreditKind kind, const RhythmOptions& options) const {
    const Rhythm rhythm = ComputeRhythm(reference::Accumulate(attention_, options), options);
    FlowRows rows;
    rows.prompt_tokens = attention_.prompt;
    for (const std::vector<double>& row : FlowAttention()) {
      const auto keys = row.begin() + attention_.prompt + rows.tokens();
      AppendRow(std::vector<float>(row.begin(), keys), /*entries=*/1000, rows);
    }
    return CreditWeights(kind, {}, Signals(rhythm, FlowCredit(rows, TraceFlow(rows, kAnswer))));
  }

  // Gamma by the full matrices and the table of strategies.
  std::vector<float> ReferenceGamma(CreditKind kind, const RhythmOptions& options) const {
    const Rhythm rhythm = reference::FullMatrixRhythm(attention_, options);
    const reference::DenseFlow flow = reference::FlowOf(FlowAttention(), attention_.prompt, kAnswer);
    std::vector<double> credit(flow.throughput.begin() + attention_.prompt, flow.throughput.end());
    std::fill(credit.begin() + kAnswer.begin, credit.begin() + kAnswer.end, 0.0);
    return reference::Weights(kind, {}, Signals(rhythm, credit));
  }

  double Loss(CreditSignRule rule, double advantage, const std::vector<double>& credit,
              const std::vector<double>& logp_new, std::vector<double>* gradient) const {
    PolicyLossOptions options;
    options.sign_rule = rule;
    options.tis_cap = 2.0;
    CompletionLogProbs<double> completion;
    completion.advantages = {&advantage, 1};
    completion.logp_new = logp_new;
    completion.logp_old = logp_old_;
    completion.logp_behavior = logp_behavior_;
    completion.credit = credit;
    gradient->resize(kTokens);
    LossTotals totals;
    AddPolicyLoss<double>(options, {.completions = 1, .tokens = kTokens}, completion, *gradient, {}, totals);
    return totals.loss;
  }

  std::vector<double> Gradient(CreditSignRule rule, double advantage, const std::vector<float>& gamma) const {
    std::vector<double> gradient;
    Loss(rule, advantage, {gamma.begin(), gamma.end()}, logp_new_, &gradient);
    return gradient;
  }

  std::vector<double> FiniteDifferences(CreditSignRule rule, double advantage, const std::vector<float>& gamma) const {
    constexpr double kStep = 1e-5;
    const std::vector<double> credit(gamma.begin(), gamma.end());
    std::vector<double> logp = logp_new_, unused, differences;
    for (int64_t t = 0; t < kTokens; ++t) {
      logp[t] = logp_new_[t] + kStep;
      const double above = Loss(rule, advantage, credit, logp, &unused);
      logp[t] = logp_new_[t] - kStep;
      const double below = Loss(rule, advantage, credit, logp, &unused);
      logp[t] = logp_new_[t];
      differences.push_back((above - below) / (2 * kStep));
    }
    return differences;
  }

  reference::Attention attention_;
  std::vector<float> entropy_;
  std::vector<double> worth_;
  std::vector<double> logp_old_, logp_new_, logp_behavior_;
};

TEST_F(CreditGradientTest, IsUniformsTimesGammaWhereTheSignRuleSaysSo) {
  const std::vector<float> ones(kTokens, 1.0f);
  for (const RhythmOptions& options : {Window(10, 100), Window(5, 100), Window(10, 50)}) {
    for (const CreditKind kind : kKinds) {
      const std::vector<float> gamma = Gamma(kind, options);
      ASSERT_EQ(gamma, ReferenceGamma(kind, options)) << static_cast<int>(kind);
      ASSERT_NE(gamma, ones) << static_cast<int>(kind);
      for (const CreditSignRule rule : {CreditSignRule::kNone, CreditSignRule::kV1, CreditSignRule::kV2}) {
        for (const double advantage : {1.3, -0.7}) {
          SCOPED_TRACE(testing::Message() << "strategy " << static_cast<int>(kind) << " rule " << static_cast<int>(rule)
                                          << " advantage " << advantage);
          const bool applies = rule == CreditSignRule::kV2 || (rule == CreditSignRule::kV1 && advantage > 0);
          const std::vector<double> gradient = Gradient(rule, advantage, gamma);
          const std::vector<double> uniform = Gradient(rule, advantage, ones);
          const std::vector<double> differences = FiniteDifferences(rule, advantage, gamma);
          for (int64_t t = 0; t < kTokens; ++t) {
            ASSERT_NE(uniform[t], 0) << t;
            ASSERT_NEAR(differences[t], gradient[t], 1e-6 * std::fabs(gradient[t])) << t;
            ASSERT_NEAR(gradient[t] / uniform[t], applies ? gamma[t] : 1.0, 1e-14) << t;
          }
        }
      }
    }
  }
}

TEST_F(CreditGradientTest, WindowAndHorizonChangeWhatReadsThem) {
  const auto gradient = [&](CreditKind kind, const RhythmOptions& options) {
    return Gradient(CreditSignRule::kV2, 1.3, Gamma(kind, options));
  };
  for (const CreditKind kind : kKinds) {
    const bool reads_waad =
        kind == CreditKind::kLocalChunk || kind == CreditKind::kBottomDelta || kind == CreditKind::kCoupled;
    const bool reads_fai = kind == CreditKind::kGlobalAnchor || kind == CreditKind::kBottomFai ||
                           kind == CreditKind::kReceiver || kind == CreditKind::kCoupled;
    EXPECT_EQ(gradient(kind, Window(10, 100)) != gradient(kind, Window(5, 100)), reads_waad) << static_cast<int>(kind);
    EXPECT_EQ(gradient(kind, Window(10, 100)) != gradient(kind, Window(10, 50)), reads_fai) << static_cast<int>(kind);
  }
}

TEST_F(CreditGradientTest, EveryStrategyHasAGradientOfItsOwn) {
  std::vector<std::vector<double>> gradients;
  for (const CreditKind kind : kKinds) {
    gradients.push_back(Gradient(CreditSignRule::kV2, -0.7, Gamma(kind, Window(10, 100))));
  }
  for (size_t a = 0; a < gradients.size(); ++a) {
    for (size_t b = 0; b < a; ++b) EXPECT_NE(gradients[a], gradients[b]) << a << " and " << b;
  }
}

}  // namespace
}  // namespace tactus
