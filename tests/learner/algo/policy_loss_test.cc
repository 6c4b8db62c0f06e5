// The loss against a slow float64 reference that is written from the definitions and keeps every stop-gradient as an
// explicit second argument, so that its finite differences are the wanted gradient.
#include "learner/algo/policy_loss.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace tactus {
namespace {

using Rows = std::vector<std::vector<double>>;

struct Batch {
  std::vector<double> advantages;
  Rows logp_new, logp_old, logp_behavior, logp_reference, credit;
  std::vector<std::vector<uint8_t>> mask;
};

Batch RandomBatch(int seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  std::uniform_real_distribution<double> uniform;
  Batch batch;
  for (size_t length : {5, 1, 8, 3, 0, 4}) {
    batch.advantages.push_back(length == 3 ? 0.0 : normal(random));
    std::vector<double> rows[5];
    std::vector<uint8_t> mask;
    for (size_t t = 0; t < length; ++t) {
      const double old = -2 + normal(random);
      rows[0].push_back(old + 0.4 * normal(random));
      rows[1].push_back(old);
      rows[2].push_back(old + 0.5 * normal(random));
      rows[3].push_back(old + 0.3 * normal(random));
      rows[4].push_back(uniform(random) < 0.4 ? 1.5 : 1.0);
      mask.push_back(length == 4 || uniform(random) < 0.3 ? 0 : 1);  // the one of length 4 has no trained token
    }
    batch.logp_new.push_back(rows[0]);
    batch.logp_old.push_back(rows[1]);
    batch.logp_behavior.push_back(rows[2]);
    batch.logp_reference.push_back(rows[3]);
    batch.credit.push_back(rows[4]);
    batch.mask.push_back(mask);
  }
  return batch;
}

double TrainedTokens(const std::vector<uint8_t>& mask) {
  double count = 0;
  for (uint8_t m : mask) count += m;
  return count;
}

// `fixed` is logp_new behind a stop-gradient, `moving` the logp_new that is differentiated.
double ReferenceLoss(const PolicyLossOptions& o, const Batch& batch, const Rows& fixed, const Rows& moving) {
  double all_tokens = 0, loss = 0;
  for (const auto& mask : batch.mask) all_tokens += TrainedTokens(mask);
  const double completions = static_cast<double>(batch.mask.size());
  for (size_t b = 0; b < batch.mask.size(); ++b) {
    const double own_tokens = TrainedTokens(batch.mask[b]);
    double mean_log_ratio = 0, sum = 0;
    for (size_t t = 0; t < fixed[b].size(); ++t) {
      if (batch.mask[b][t]) mean_log_ratio += (fixed[b][t] - batch.logp_old[b][t]) / own_tokens;
    }
    for (size_t t = 0; t < fixed[b].size(); ++t) {
      if (!batch.mask[b][t]) continue;
      double advantage = batch.advantages[b];
      const bool weighted =
          o.sign_rule == CreditSignRule::kV2 || (o.sign_rule == CreditSignRule::kV1 && advantage >= 0);
      if (weighted) advantage *= batch.credit[b][t];
      const double now = moving[b][t], old = batch.logp_old[b][t];
      double w = 1;
      if (o.tis_cap) w = std::min(std::exp(old - batch.logp_behavior[b][t]), *o.tis_cap);
      const auto clip = [&](double r) { return std::min(std::max(r, 1 - o.clip_low), 1 + o.clip_high); };
      double policy = 0;
      if (o.loss == PolicyLossKind::kClip) {
        const double ratio = std::exp(now - old);
        policy = -w * std::min(ratio * advantage, clip(ratio) * advantage);
      } else if (o.loss == PolicyLossKind::kGspo) {
        const double ratio = std::exp(mean_log_ratio) * std::exp(now - fixed[b][t]);
        policy = -w * std::min(ratio * advantage, clip(ratio) * advantage);
      } else {
        policy = -clip(std::exp(fixed[b][t] - old)) * w * advantage * now;
      }
      const double difference = batch.logp_reference[b][t] - now;
      const double token = policy + o.kl_beta * (std::exp(difference) - difference - 1);
      if (o.aggregation == LossAggregation::kTokenMean) sum += token / all_tokens;
      if (o.aggregation == LossAggregation::kSeqMean) sum += token / own_tokens / completions;
      if (o.aggregation == LossAggregation::kFixedLength) {
        sum += token / (completions * static_cast<double>(o.fixed_length_tokens));
      }
    }
    loss += sum;
  }
  return loss;
}

template <typename T>
struct Result {
  LossTotals totals;
  std::vector<std::vector<T>> gradient;
};

GlobalCounts CountsOf(const Batch& batch) {
  GlobalCounts counts;
  counts.completions = static_cast<int64_t>(batch.mask.size());
  for (const auto& mask : batch.mask) counts.tokens += static_cast<int64_t>(TrainedTokens(mask));
  return counts;
}

// Completions [first, last).
template <typename T>
Result<T> Compute(const PolicyLossOptions& options, const Batch& batch, size_t first, size_t last,
                  const GlobalCounts& counts) {
  Result<T> result;
  const auto row = [](const std::vector<double>& values) { return std::vector<T>(values.begin(), values.end()); };
  for (size_t b = first; b < last; ++b) {
    const auto now = row(batch.logp_new[b]), old = row(batch.logp_old[b]), behavior = row(batch.logp_behavior[b]),
               reference = row(batch.logp_reference[b]), credit = row(batch.credit[b]);
    CompletionLogProbs<T> completion;
    completion.advantages = {&batch.advantages[b], 1};
    completion.logp_new = now;
    completion.logp_old = old;
    if (options.tis_cap) completion.logp_behavior = behavior;
    if (options.kl_beta != 0) completion.logp_reference = reference;
    if (options.sign_rule != CreditSignRule::kNone) completion.credit = credit;
    completion.mask = batch.mask[b];
    std::vector<T> gradient(now.size(), T{99});
    AddPolicyLoss<T>(options, counts, completion, gradient, {}, result.totals);
    result.gradient.push_back(gradient);
  }
  return result;
}

// Under the counts of the whole batch.
template <typename T>
Result<T> Compute(const PolicyLossOptions& options, const Batch& batch, size_t first, size_t last) {
  return Compute<T>(options, batch, first, last, CountsOf(batch));
}

template <typename T>
Result<T> Compute(const PolicyLossOptions& options, const Batch& batch) {
  return Compute<T>(options, batch, 0, batch.mask.size());
}

std::vector<PolicyLossOptions> AllCombinations() {
  std::vector<PolicyLossOptions> all;
  for (auto loss : {PolicyLossKind::kClip, PolicyLossKind::kGspo, PolicyLossKind::kCispo}) {
    for (auto aggregation : {LossAggregation::kTokenMean, LossAggregation::kSeqMean, LossAggregation::kFixedLength}) {
      for (auto sign : {CreditSignRule::kNone, CreditSignRule::kV1, CreditSignRule::kV2}) {
        for (std::optional<double> cap : {std::optional<double>(), std::optional<double>(1.2)}) {
          for (double kl_beta : {0.0, 0.3}) {
            all.push_back({loss, aggregation, 11, 0.1, 0.25, cap, kl_beta, sign});
          }
        }
      }
    }
  }
  return all;
}

// The refinements, each with all losses; tests/tools/batch/loss_golden_test.cc holds their values.
std::vector<PolicyLossOptions> Refinements() {
  std::vector<PolicyLossOptions> all;
  for (auto loss : {PolicyLossKind::kClip, PolicyLossKind::kGspo, PolicyLossKind::kCispo}) {
    for (auto level : {ImportanceLevel::kToken, ImportanceLevel::kSequence, ImportanceLevel::kGeometric}) {
      for (auto rule : {ImportanceRule::kTruncate, ImportanceRule::kMask}) {
        for (auto kl : {KlEstimator::kK1, KlEstimator::kK2}) {
          PolicyLossOptions options{.loss = loss, .tis_cap = 1.2, .kl_beta = 0.3};
          options.clip_dual = loss == PolicyLossKind::kCispo ? 0 : 1.5;
          options.tis_level = level;
          options.tis_rule = rule;
          options.tis_floor = rule == ImportanceRule::kMask ? 0.8 : 0;
          options.kl_estimator = kl;
          all.push_back(options);
        }
      }
    }
  }
  return all;
}

std::vector<PolicyLossOptions> Everything() {
  std::vector<PolicyLossOptions> all = AllCombinations();
  for (const PolicyLossOptions& options : Refinements()) all.push_back(options);
  return all;
}

std::string Name(const PolicyLossOptions& o) {
  return "loss " + std::to_string(static_cast<int>(o.loss)) + " agg " +
         std::to_string(static_cast<int>(o.aggregation)) + " sign " + std::to_string(static_cast<int>(o.sign_rule)) +
         (o.tis_cap ? " tis" : "") + (o.kl_beta != 0 ? " kl" : "");
}

TEST(PolicyLossTest, EveryCombinationEqualsTheReferenceAndItsFiniteDifferences) {
  for (const PolicyLossOptions& options : AllCombinations()) {
    SCOPED_TRACE(Name(options));
    const Batch batch = RandomBatch(3);
    const Result<double> result = Compute<double>(options, batch);
    ASSERT_NEAR(result.totals.loss, ReferenceLoss(options, batch, batch.logp_new, batch.logp_new), 1e-13);
    for (size_t b = 0; b < batch.mask.size(); ++b) {
      for (size_t t = 0; t < batch.mask[b].size(); ++t) {
        const double step = 1e-5;
        Rows up = batch.logp_new, down = batch.logp_new;
        up[b][t] += step;
        down[b][t] -= step;
        const double slope =
            (ReferenceLoss(options, batch, batch.logp_new, up) - ReferenceLoss(options, batch, batch.logp_new, down)) /
            (2 * step);
        ASSERT_NEAR(result.gradient[b][t], slope, 1e-9) << "completion " << b << ", token " << t;
      }
    }
  }
}

TEST(PolicyLossTest, TheCombinationsClipAndCapSomething) {
  for (const PolicyLossOptions& options : AllCombinations()) {
    const LossTotals totals = Compute<double>(options, RandomBatch(3)).totals;
    EXPECT_GT(totals.clipped_low, 0) << Name(options);
    EXPECT_GT(totals.clipped_high, 0) << Name(options);
    EXPECT_LT(totals.clipped_low + totals.clipped_high, totals.tokens) << Name(options);
    if (options.tis_cap) {
      EXPECT_GT(totals.tis_capped, 0);
      EXPECT_LT(totals.tis_capped, totals.tokens);
      EXPECT_EQ(totals.tis_weight_max, 1.2);
    }
  }
}

TEST(PolicyLossTest, FloatInputsGiveTheDoubleResultRounded) {
  for (const PolicyLossOptions& options : AllCombinations()) {
    const Batch batch = RandomBatch(4);
    const Result<double> exact = Compute<double>(options, batch);
    const Result<float> rounded = Compute<float>(options, batch);
    EXPECT_NEAR(exact.totals.loss, rounded.totals.loss, 1e-6) << Name(options);
    for (size_t b = 0; b < batch.mask.size(); ++b) {
      for (size_t t = 0; t < batch.mask[b].size(); ++t) {
        EXPECT_NEAR(exact.gradient[b][t], rounded.gradient[b][t], 1e-6) << Name(options);
      }
    }
  }
}

TEST(PolicyLossTest, GarbageUnderTheMaskHasNoEffect) {
  const double nan = std::numeric_limits<double>::quiet_NaN(), infinity = std::numeric_limits<double>::infinity();
  for (const PolicyLossOptions& options : Everything()) {
    const Batch clean = RandomBatch(5);
    const Result<double> expected = Compute<double>(options, clean);
    for (double garbage : {nan, infinity, -infinity, 1e300}) {
      Batch dirty = clean;
      for (size_t b = 0; b < dirty.mask.size(); ++b) {
        for (size_t t = 0; t < dirty.mask[b].size(); ++t) {
          if (dirty.mask[b][t] != 0) continue;
          for (Rows* rows :
               {&dirty.logp_new, &dirty.logp_old, &dirty.logp_behavior, &dirty.logp_reference, &dirty.credit}) {
            (*rows)[b][t] = garbage;
          }
        }
      }
      const Result<double> result = Compute<double>(options, dirty);
      EXPECT_EQ(result.totals.loss, expected.totals.loss) << Name(options);
      EXPECT_EQ(result.totals.ratio_max, expected.totals.ratio_max);
      EXPECT_EQ(result.totals.kl_old, expected.totals.kl_old);
      EXPECT_EQ(result.gradient, expected.gradient) << Name(options);
    }
  }
}

TEST(PolicyLossTest, PartsUnderTheGlobalCountsAddUpToTheWhole) {
  for (const PolicyLossOptions& options : Everything()) {
    const Batch batch = RandomBatch(6);
    const Result<double> whole = Compute<double>(options, batch);
    for (size_t cut = 0; cut <= batch.mask.size(); ++cut) {
      Result<double> first = Compute<double>(options, batch, 0, cut);
      const Result<double> second = Compute<double>(options, batch, cut, batch.mask.size());
      first.totals += second.totals;
      first.gradient.insert(first.gradient.end(), second.gradient.begin(), second.gradient.end());
      EXPECT_NEAR(first.totals.loss, whole.totals.loss, 1e-14) << Name(options);
      EXPECT_EQ(first.totals.tokens, whole.totals.tokens);
      EXPECT_EQ(first.totals.ratio_max, whole.totals.ratio_max);
      EXPECT_EQ(first.gradient, whole.gradient) << Name(options);
    }
  }
}

TEST(PolicyLossTest, TheCountsAreOneFactorThatMayComeLast) {
  for (const PolicyLossOptions& options : Everything()) {
    const Batch batch = RandomBatch(7);
    const Result<double> counted = Compute<double>(options, batch);
    Result<double> unscaled = Compute<double>(options, batch, 0, batch.mask.size(), kUnscaled);
    const double scale = LossScale(options.aggregation, CountsOf(batch));
    unscaled.totals.Scale(scale);
    EXPECT_NEAR(unscaled.totals.loss, counted.totals.loss, 1e-14) << Name(options);
    EXPECT_NEAR(unscaled.totals.kl_loss, counted.totals.kl_loss, 1e-14) << Name(options);
    EXPECT_EQ(unscaled.totals.kl_old, counted.totals.kl_old);
    for (size_t b = 0; b < batch.mask.size(); ++b) {
      for (size_t t = 0; t < batch.mask[b].size(); ++t) {
        EXPECT_NEAR(scale * unscaled.gradient[b][t], counted.gradient[b][t], 1e-14) << Name(options);
      }
    }
  }
  EXPECT_EQ(LossScale(LossAggregation::kTokenMean, {.completions = 3, .tokens = 0}), 0) << "nothing is trained";
}

TEST(PolicyLossTest, NoAdvantageMeansExactlyNoPolicyGradient) {
  PolicyLossOptions options;
  options.sign_rule = CreditSignRule::kNone;
  const std::vector<double> now = {800, -800}, old = {0, 0};  // the first ratio overflows
  const double none = 0;
  CompletionLogProbs<double> completion;
  completion.advantages = {&none, 1};
  completion.logp_new = now;
  completion.logp_old = old;
  std::vector<double> gradient(2, 99);
  LossTotals totals;
  AddPolicyLoss<double>(options, {1, 2}, completion, gradient, {}, totals);
  EXPECT_EQ(totals.loss, 0);
  EXPECT_THAT(gradient, testing::ElementsAre(0.0, 0.0));
}

// Loss and gradient of one completion whose numbers are given by their ratios, sampled and proximal policy alike.
struct OneRow {
  double loss = 0;
  std::vector<double> gradient;
  LossTotals totals;
};
OneRow Row(const PolicyLossOptions& options, double advantage, const std::vector<double>& ratios,
           const std::vector<double>& weights) {
  std::vector<double> now, old(ratios.size(), -1.0), behavior;
  for (const double ratio : ratios) now.push_back(-1 + std::log(ratio));
  for (const double weight : weights) behavior.push_back(-1 - std::log(weight));
  CompletionLogProbs<double> completion;
  completion.advantages = {&advantage, 1};
  completion.logp_new = now;
  completion.logp_old = old;
  completion.logp_behavior = behavior;
  OneRow row;
  row.gradient.resize(ratios.size());
  AddPolicyLoss<double>(options, {1, static_cast<int64_t>(ratios.size())}, completion, row.gradient, {}, row.totals);
  row.loss = row.totals.loss * static_cast<double>(ratios.size());
  return row;
}

// What a token's ratio and weights are does not depend on its advantage: so with an advantage of its own it has the
// very gradient that it has where all share that.
TEST(PolicyLossTest, ATokensOwnAdvantageIsItsAlone) {
  const std::vector<double> now = {-1, -0.5, -2, -1}, old = {-1.1, -0.9, -1.2, -1}, behavior = {-2, -1, -1, -1},
                            credit = {1, 1.5, 1, 1.5}, advantages = {2, 2, -0.5, 0};
  PolicyLossOptions options{.tis_cap = 2, .sign_rule = CreditSignRule::kV1};
  for (const PolicyLossKind loss : {PolicyLossKind::kClip, PolicyLossKind::kGspo, PolicyLossKind::kCispo}) {
    options.loss = loss;
    const auto compute = [&](std::span<const double> of_tokens, LossTotals& totals) {
      CompletionLogProbs<double> completion;
      completion.advantages = of_tokens;
      completion.logp_new = now;
      completion.logp_old = old;
      completion.logp_behavior = behavior;
      completion.credit = credit;
      std::vector<double> gradient(now.size());
      AddPolicyLoss<double>(options, {1, 4}, completion, gradient, {}, totals);
      return gradient;
    };
    LossTotals totals;
    const std::vector<double> own = compute(advantages, totals);
    EXPECT_EQ(own[3], 0);
    for (size_t t = 0; t < now.size(); ++t) {
      LossTotals shared;
      EXPECT_EQ(own[t], compute(std::span(advantages).subspan(t, 1), shared)[t]) << static_cast<int>(loss) << ", " << t;
    }
  }
}

TEST(PolicyLossTest, TheEntropyBonusIsAMeanAndItsSlopeAConstant) {
  const std::vector<double> now = {-1, -0.5, -2}, entropy = {2, 99, 0.5}, none = {0};
  const std::vector<uint8_t> mask = {1, 0, 1};
  PolicyLossOptions options;
  options.sign_rule = CreditSignRule::kNone;
  options.entropy_coefficient = 0.25;
  CompletionLogProbs<double> completion;
  completion.advantages = none;
  completion.logp_new = completion.logp_old = now;
  completion.entropy = entropy;
  completion.mask = mask;
  std::vector<double> gradient(3), slopes(3, 99);
  LossTotals totals;
  AddPolicyLoss<double>(options, {1, 2}, completion, gradient, slopes, totals);
  EXPECT_DOUBLE_EQ(totals.loss, -0.25 * (2 + 0.5) / 2);
  EXPECT_EQ(totals.loss, totals.entropy_loss);
  EXPECT_THAT(gradient, testing::Each(0.0));
  EXPECT_THAT(slopes, testing::ElementsAre(-0.125, 0.0, -0.125));
  options.aggregation = LossAggregation::kFixedLength;
  options.fixed_length_tokens = 5;
  LossTotals fixed;
  AddPolicyLoss<double>(options, {2, 4}, completion, gradient, slopes, fixed);
  EXPECT_DOUBLE_EQ(fixed.loss, -0.25 * (2 + 0.5) / 10) << "over the same tokens as every term";
  EXPECT_THAT(slopes, testing::ElementsAre(-0.025, 0.0, -0.025));
  options.entropy_coefficient = 0;
  LossTotals off;
  AddPolicyLoss<double>(options, {1, 2}, completion, gradient, slopes, off);
  EXPECT_EQ(off.loss, 0);
  EXPECT_THAT(slopes, testing::Each(0.0));
}

TEST(PolicyLossTest, DualClipBoundsTheLossOfBadAnswersAlone) {
  PolicyLossOptions options;
  options.sign_rule = CreditSignRule::kNone;
  options.clip_dual = 3;
  const OneRow bad = Row(options, -1, {2.9, 10.0}, {});
  EXPECT_NEAR(bad.loss, 2.9 + 3, 1e-14);
  EXPECT_NEAR(bad.gradient[0], 2.9 / 2, 1e-14);
  EXPECT_EQ(bad.gradient[1], 0);
  EXPECT_EQ(bad.totals.clipped_high, 1);
  EXPECT_NEAR(Row(options, 1, {10.0}, {}).loss, -1.2, 1e-14) << "a good one is clipped as ever";
}

TEST(PolicyLossTest, ImportanceWeightsByLevelAndRule) {
  PolicyLossOptions options{.tis_cap = 2, .sign_rule = CreditSignRule::kNone};
  const std::vector<double> ones = {1, 1}, weights = {4, 0.25};
  EXPECT_NEAR(Row(options, -1, ones, weights).loss, 2 + 0.25, 1e-14);
  options.tis_level = ImportanceLevel::kSequence;
  EXPECT_NEAR(Row(options, -1, ones, weights).loss, 1 + 1, 1e-14) << "their product";
  EXPECT_NEAR(Row(options, -1, ones, {4, 4}).loss, 2 + 2, 1e-14);
  options.tis_level = ImportanceLevel::kGeometric;
  EXPECT_NEAR(Row(options, -1, ones, {2.25, 1}).loss, 1.5 + 1.5, 1e-14);
  options.tis_rule = ImportanceRule::kMask;
  options.tis_floor = 0.5;
  EXPECT_NEAR(Row(options, -1, ones, {2.25, 1}).loss, 1.5 + 1.5, 1e-14) << "within bounds";
  EXPECT_EQ(Row(options, -1, ones, {9, 1}).loss, 0) << "3 is above";
  EXPECT_EQ(Row(options, -1, ones, {0.1, 0.1}).loss, 0) << "0.1 is below";
  options.tis_level = ImportanceLevel::kToken;
  const OneRow one_left = Row(options, -1, {1, 1, 1}, {4, 1.5, 0.25});
  EXPECT_NEAR(one_left.loss, 1.5, 1e-14);
  EXPECT_EQ(one_left.gradient[0], 0);
  EXPECT_NEAR(one_left.gradient[1], 0.5, 1e-14);
  EXPECT_EQ(one_left.totals.tis_capped, 2);
}

TEST(PolicyLossTest, KlEstimates) {
  for (const double x : {-0.5, 0.0, 2.0}) {  // log reference - log policy
    EXPECT_DOUBLE_EQ(KlEstimate(KlEstimator::kK1, x), -x);
    EXPECT_DOUBLE_EQ(KlEstimate(KlEstimator::kK2, x), x * x / 2);
    EXPECT_NEAR(KlEstimate(KlEstimator::kK3, x), std::exp(x) - x - 1, 1e-15);
  }
}

TEST(PolicyLossTest, DiagnosticsOfAKnownCompletion) {
  PolicyLossOptions options;
  options.tis_cap = 2;
  options.sign_rule = CreditSignRule::kNone;
  const std::vector<double> now = {std::log(0.6), std::log(0.2)}, old = {std::log(0.3), std::log(0.2)},
                            behavior = {std::log(0.1), std::log(0.4)}, one = {1};
  CompletionLogProbs<double> completion;
  completion.advantages = one;
  completion.logp_new = now;
  completion.logp_old = old;
  completion.logp_behavior = behavior;
  std::vector<double> gradient(2);
  LossTotals totals;
  AddPolicyLoss<double>(options, {1, 2}, completion, gradient, {}, totals);
  EXPECT_NEAR(totals.loss, -(2 * 1.2 + 0.5 * 1) / 2, 1e-15);  // ratio 2 clipped at 1.2, weights 3 -> 2 and 0.5
  EXPECT_EQ(gradient[0], 0);
  EXPECT_NEAR(gradient[1], -0.25, 1e-15);
  EXPECT_EQ(totals.tokens, 2);
  EXPECT_EQ(totals.clipped_low, 0);
  EXPECT_EQ(totals.clipped_high, 1);
  EXPECT_EQ(totals.kl_loss, 0);
  const std::vector<double> reference = {std::log(0.3), std::log(0.2)};
  completion.logp_reference = reference;
  options.kl_beta = 0.5;
  LossTotals with_kl;
  AddPolicyLoss<double>(options, {1, 2}, completion, gradient, {}, with_kl);
  EXPECT_NEAR(with_kl.kl_loss, 0.5 * (0.5 - std::log(0.5) - 1) / 2, 1e-15);
  EXPECT_NEAR(with_kl.loss, totals.loss + with_kl.kl_loss, 1e-15);
  EXPECT_EQ(totals.tis_capped, 1);
  EXPECT_NEAR(totals.tis_weight, 2.5, 1e-15);
  EXPECT_NEAR(totals.ratio_max, 2, 1e-15);
  EXPECT_NEAR(totals.kl_old, 2 - std::log(2.0) - 1, 1e-15);
}

}  // namespace
}  // namespace tactus
