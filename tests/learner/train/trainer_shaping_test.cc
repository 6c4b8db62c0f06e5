// What changes the rewards, and which answers are trained on at all, before a step's losses.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "learner/train/trainer.h"
#include "tests/learner/train/bigram_policy.h"
#include "tests/learner/train/trainer_fixtures.h"

namespace tactus {
namespace {

constexpr int64_t kVocab = 7;
constexpr PolicyVersion kNow{1, 5};

TrainerOptions Options() {
  TrainerOptions options;
  options.estimator = Estimator::kDrGrpo;
  options.micro_batch_tokens = 40;
  options.schedule.lr = 0.01;
  return options;
}

// The trained table and the record of one step.
struct Outcome {
  StepRecord stats;
  std::vector<float> table;
};

Outcome Step(const TrainerOptions& options, const std::vector<TrajectoryGroup>& groups, Collective& collective) {
  auto owned = std::make_unique<BigramPolicy>(kVocab);
  BigramPolicy& policy = *owned;
  auto reference = options.needs_reference() ? std::make_unique<BigramPolicy>(kVocab) : nullptr;
  auto trainer = Trainer::Create(options, std::move(owned), std::move(reference), collective);
  EXPECT_TRUE(trainer.ok()) << trainer.status();
  const auto stats = (*trainer)->TrainStep(groups, kNow);
  EXPECT_TRUE(stats.ok()) << stats.status();
  return {*stats, {policy.parameters().begin(), policy.parameters().end()}};
}

Outcome Step(const TrainerOptions& options, const std::vector<TrajectoryGroup>& groups) {
  return Step(options, groups, **CreateCollective({}));
}

TEST(TrainerShapingTest, TheLengthPenaltyIsTakenOffTheReward) {
  const std::vector<TrajectoryGroup> groups = RandomGroups(3, 4, kVocab, kNow);
  TrainerOptions options = Options();
  options.shaping = {.max_tokens = 9, .buffer_tokens = 6, .penalty = 0.5};
  std::vector<TrajectoryGroup> by_hand = groups;
  double taken = 0, completions = 0;
  for (TrajectoryGroup& group : by_hand) {
    for (Completion& completion : group.completions) {
      const double beyond = std::max(0.0, static_cast<double>(completion.token_ids.size()) - 3);
      completion.reward.total -= 0.5 * beyond / 6;
      taken += 0.5 * beyond / 6;
      completions += 1;
    }
  }
  ASSERT_GT(taken, 0);
  const Outcome shaped = Step(options, groups), expected = Step(Options(), by_hand), plain = Step(Options(), groups);
  EXPECT_NEAR(shaped.stats.reward_shaping_mean, -taken / completions, 1e-12);
  EXPECT_EQ(shaped.stats.reward_mean, plain.stats.reward_mean) << "what is told is the verifier's";
  EXPECT_NEAR(shaped.stats.loss, expected.stats.loss, 1e-12);
  EXPECT_NEAR(shaped.stats.grad_norm, expected.stats.grad_norm, 1e-9);
  EXPECT_NE(shaped.table, plain.table);
  EXPECT_TRUE(std::isnan(plain.stats.reward_shaping_mean)) << "nothing is measured as 0";
}

TEST(TrainerShapingTest, TheKlInTheRewardIsTheSumOverTheAnswer) {
  std::vector<TrajectoryGroup> groups = RandomGroups(3, 4, kVocab, kNow);
  groups[1].completions[2].token_ids.clear();  // an answer without a token
  groups[1].completions[2].logprobs.clear();
  groups[1].completions[2].credit.clear();
  groups[1].completions[2].entropy.clear();
  const BigramPolicy reference(kVocab);
  const std::vector<float> table = [] {
    BigramPolicy policy(kVocab);
    return std::vector<float>(policy.parameters().begin(), policy.parameters().end());
  }();
  const std::vector<std::pair<KlEstimator, double (*)(double)>> estimators = {
      {KlEstimator::kK1, [](double x) { return -x; }},
      {KlEstimator::kK2, [](double x) { return x * x / 2; }},
      {KlEstimator::kK3, [](double x) { return std::exp(x) - x - 1; }}};
  for (const auto& [estimator, f] : estimators) {
    std::vector<TrajectoryGroup> by_hand = groups;
    double k3 = 0, tokens = 0;
    for (TrajectoryGroup& group : by_hand) {
      for (Completion& completion : group.completions) {
        TokenId before = group.prompt_token_ids.back();
        for (size_t t = 0; t < completion.token_ids.size(); ++t) {
          const double x =
              static_cast<float>(reference.LogProb(table, static_cast<size_t>(before), completion.token_ids[t])) -
              double{completion.logprobs[t]};
          completion.reward.total -= 0.125 * f(x);
          k3 += std::exp(x) - x - 1;
          tokens += 1;
          before = completion.token_ids[t];
        }
      }
    }
    TrainerOptions options = Options();
    options.shaping.kl_beta = 0.125;
    options.shaping.kl_estimator = estimator;
    const Outcome expected = Step(Options(), by_hand), charged = Step(options, groups);
    EXPECT_NEAR(charged.stats.loss, expected.stats.loss, 1e-9);
    EXPECT_NEAR(charged.stats.grad_norm, expected.stats.grad_norm, 1e-6);
    EXPECT_NEAR(charged.stats.kl_k3, k3 / tokens, 1e-6);
    EXPECT_TRUE(std::isnan(charged.stats.loss_kl));
    OnRanks(2, [&](Collective& collective) {
      const Outcome two = Step(options, groups, collective);
      EXPECT_NEAR(two.stats.loss, charged.stats.loss, 1e-9);
      EXPECT_NEAR(two.stats.kl_k3, charged.stats.kl_k3, 1e-9);
      EXPECT_NEAR(two.stats.reward_shaping_mean, charged.stats.reward_shaping_mean, 1e-9);
    });
  }
}

TEST(TrainerShapingTest, TheEntropyBonusIsTrainedOnWithoutAnyOtherSignal) {
  std::vector<TrajectoryGroup> groups = RandomGroups(3, 4, kVocab, kNow);
  BigramPolicy policy(kVocab);
  const std::vector<float> table(policy.parameters().begin(), policy.parameters().end());
  // -coefficient * mean entropy, by hand; and its slope by finite differences of that.
  const auto mean_entropy = [&](const std::vector<double>& of) {
    double sum = 0, tokens = 0;
    for (const TrajectoryGroup& group : groups) {
      for (const Completion& completion : group.completions) {
        TokenId before = group.prompt_token_ids.back();
        for (const TokenId token : completion.token_ids) {
          sum += policy.Entropy(of, static_cast<size_t>(before));
          tokens += 1;
          before = token;
        }
      }
    }
    return sum / tokens;
  };
  std::vector<double> at(table.begin(), table.end());
  double square = 0;
  for (double& value : at) {
    const double here = value, step = 1e-5;
    value = here + step;
    const double above = mean_entropy(at);
    value = here - step;
    const double slope = 0.125 * (above - mean_entropy(at)) / (2 * step);
    value = here;
    square += slope * slope;
  }
  for (TrajectoryGroup& group : groups) {
    for (Completion& completion : group.completions) completion.reward.total = 1;
  }
  TrainerOptions options = Options();
  options.loss.entropy_coefficient = 0.125;
  const Outcome bonus = Step(options, groups);
  EXPECT_NEAR(bonus.stats.loss, -0.125 * mean_entropy(at), 1e-6);
  EXPECT_EQ(bonus.stats.loss_entropy, bonus.stats.loss);
  EXPECT_EQ(bonus.stats.loss_policy, 0);
  EXPECT_NEAR(bonus.stats.grad_norm, std::sqrt(square), 1e-6);
  EXPECT_EQ(bonus.stats.skipped_tokens, 0);
  EXPECT_GT(mean_entropy({bonus.table.begin(), bonus.table.end()}), mean_entropy(at));
  const Outcome off = Step(Options(), groups);
  EXPECT_EQ(off.table, table) << "equal rewards, no bonus";
  EXPECT_TRUE(std::isnan(off.stats.loss_entropy));
  OnRanks(2, [&](Collective& collective) {
    const Outcome two = Step(options, groups, collective);
    EXPECT_NEAR(two.stats.loss, bonus.stats.loss, 1e-9);
    EXPECT_NEAR(two.stats.grad_norm, bonus.stats.grad_norm, 1e-6);
  });
}

TEST(TrainerShapingTest, AnswersThatWereCutOffCountForTheirGroupAndAreNotTrained) {
  std::vector<TrajectoryGroup> groups = RandomGroups(3, 4, kVocab, kNow);
  double cut = 0;
  for (TrajectoryGroup& group : groups) {
    group.completions[1].finish_reason = FinishReason::kLength;
    cut += static_cast<double>(group.completions[1].token_ids.size());
  }
  TrainerOptions options = Options();
  options.mask_overlong = true;
  const Outcome masked = Step(options, groups), plain = Step(Options(), groups);
  EXPECT_EQ(masked.stats.advantage_max, plain.stats.advantage_max);
  EXPECT_EQ(masked.stats.advantage_mean, plain.stats.advantage_mean);
  EXPECT_LT(masked.stats.completion_tokens, plain.stats.completion_tokens);
  // The same with their tokens taken away by hand: what is left has the same advantages and denominators.
  std::vector<TrajectoryGroup> emptied = groups;
  for (TrajectoryGroup& group : emptied) {
    Completion& completion = group.completions[1];
    completion.token_ids.clear();
    completion.logprobs.clear();
    completion.credit.clear();
    completion.entropy.clear();
  }
  const Outcome expected = Step(Options(), emptied);
  EXPECT_EQ(masked.stats.loss, expected.stats.loss);
  EXPECT_EQ(masked.table, expected.table);
  EXPECT_EQ(masked.stats.skipped_tokens, expected.stats.skipped_tokens + cut);
}

TEST(TrainerShapingTest, ReinforcePpComparesAllUpdatesOfAStep) {
  std::vector<TrajectoryGroup> groups = RandomGroups(3, 2, kVocab, kNow);
  for (Completion& completion : groups[0].completions) completion.reward.total = 0;
  for (Completion& completion : groups[1].completions) completion.reward.total = 1;
  TrainerOptions options = Options();
  options.updates_per_batch = 2;  // a group each: alone, none has a signal
  EXPECT_EQ(Step(options, groups).stats.advantage_max, 0);
  options.estimator = Estimator::kReinforcePp;
  const Outcome outcome = Step(options, groups);
  EXPECT_NEAR(outcome.stats.advantage_max, 1, 1e-5);
  EXPECT_NEAR(outcome.stats.advantage_min, -1, 1e-5);
}

}  // namespace
}  // namespace tactus
