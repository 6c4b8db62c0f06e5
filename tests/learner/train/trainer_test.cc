#include "learner/train/trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/learner/train/bigram_policy.h"
#include "tests/learner/train/trainer_fixtures.h"

namespace tactus {
namespace {

using ::testing::HasSubstr;
constexpr int64_t kVocab = 7;
constexpr PolicyVersion kNow{1, 5};

TrainerOptions Options() {
  TrainerOptions options;
  options.micro_batch_tokens = 40;
  options.schedule.lr = 0.01;
  options.loss.tis_cap = 2;
  return options;
}

struct Rig {
  explicit Rig(const TrainerOptions& options, Collective& collective) {
    auto owned = std::make_unique<BigramPolicy>(kVocab);
    policy = owned.get();
    std::unique_ptr<TrainablePolicy> reference;
    if (options.loss.kl_beta > 0) reference = std::make_unique<BigramPolicy>(kVocab);
    auto created = Trainer::Create(options, std::move(owned), std::move(reference), collective);
    EXPECT_TRUE(created.ok()) << created.status();
    trainer = *std::move(created);
  }
  BigramPolicy* policy = nullptr;
  std::unique_ptr<Trainer> trainer;
};

std::unique_ptr<Collective> Alone() { return *CreateCollective({}); }

std::vector<float> Copy(std::span<const float> values) { return {values.begin(), values.end()}; }

int64_t TokensOf(const std::vector<TrajectoryGroup>& groups) {
  size_t tokens = 0;
  for (const TrajectoryGroup& group : groups) {
    for (const Completion& completion : group.completions) tokens += completion.token_ids.size();
  }
  return static_cast<int64_t>(tokens);
}

// The token-mean clip loss of one on-policy update as a function of the table, with everything constant frozen at
// `start`: written from the definitions, in double.
double ReferenceLoss(const BigramPolicy& policy, const std::vector<TrajectoryGroup>& groups,
                     const std::vector<double>& table, const std::vector<double>& start, double tis_cap) {
  double tokens = 0, sum = 0;
  for (const TrajectoryGroup& group : groups) {
    double mean = 0, variance = 0;
    const double count = static_cast<double>(group.completions.size());
    for (const Completion& c : group.completions) mean += c.reward.total / count;
    for (const Completion& c : group.completions) variance += std::pow(c.reward.total - mean, 2) / count;
    for (const Completion& c : group.completions) {
      TokenId before = group.prompt_token_ids.back();
      for (size_t t = 0; t < c.token_ids.size(); ++t) {
        const double now = policy.LogProb(table, static_cast<size_t>(before), c.token_ids[t]);
        const double old = policy.LogProb(start, static_cast<size_t>(before), c.token_ids[t]);
        const double advantage = (c.reward.total - mean) / (std::sqrt(variance) + 1e-6) * double{c.credit[t]};
        const double weight = std::min(std::exp(old - double{c.logprobs[t]}), tis_cap);
        const double ratio = std::exp(now - old), clipped = std::min(std::max(ratio, 0.8), 1.2);
        sum -= weight * std::min(ratio * advantage, clipped * advantage);
        tokens += 1;
        before = c.token_ids[t];
      }
    }
  }
  return sum / tokens;
}

TEST(TrainerTest, LossAndGradientAreThoseOfTheDefinition) {
  const auto collective = Alone();
  Rig rig(Options(), *collective);
  const std::vector<TrajectoryGroup> groups = RandomGroups(1, 5, kVocab, kNow);
  const std::vector<double> start(rig.policy->parameters().begin(), rig.policy->parameters().end());
  const auto stats = rig.trainer->TrainStep(groups, kNow);
  ASSERT_TRUE(stats.ok()) << stats.status();
  EXPECT_NEAR(stats->loss, ReferenceLoss(*rig.policy, groups, start, start, 2), 1e-6);
  double squares = 0;
  for (size_t i = 0; i < start.size(); ++i) {
    std::vector<double> up = start, down = start;
    up[i] += 1e-5;
    down[i] -= 1e-5;
    const double slope =
        (ReferenceLoss(*rig.policy, groups, up, start, 2) - ReferenceLoss(*rig.policy, groups, down, start, 2)) / 2e-5;
    // What the optimizer steps on: the gradients lack the counts until then.
    ASSERT_NEAR(rig.policy->gradients()[i] / static_cast<double>(TokensOf(groups)), slope, 1e-6) << i;
    squares += slope * slope;
  }
  EXPECT_NEAR(stats->grad_norm, std::sqrt(squares), 1e-6);
  EXPECT_EQ(stats->lr, 0.01);
  EXPECT_EQ(stats->skipped_updates, 0);
  EXPECT_EQ(rig.policy->changes, 1);
  EXPECT_EQ(rig.policy->forward_onlys, 0);  // on-policy: the proximal log-probs are the new ones
  EXPECT_GT(rig.policy->forwards, 1);
  EXPECT_EQ(stats->ratio_max, 1);
  EXPECT_EQ(stats->kl_proximal, 0);
  EXPECT_EQ(stats->clip_fraction, 0);
  EXPECT_TRUE(std::isnan(stats->loss_kl)) << "there is no KL term";
  EXPECT_TRUE(std::isnan(stats->kl_k3)) << "there is no reference";
  EXPECT_LT(stats->advantage_min, 0);
  EXPECT_GT(stats->advantage_max, 0);
  EXPECT_NEAR(stats->advantage_mean, 0, 1e-12) << "each group's advantages are centred";
}

TEST(TrainerTest, MicroBatchesAddUpToTheSameStep) {
  const auto collective = Alone();
  TrainerOptions options = Options();
  options.micro_batch_tokens = 13;
  Rig small(options, *collective);
  options.micro_batch_tokens = 10000;
  Rig large(options, *collective);
  for (int step = 0; step < 5; ++step) {
    const auto groups = RandomGroups(step, 6, kVocab, kNow);
    const auto a = small.trainer->TrainStep(groups, kNow), b = large.trainer->TrainStep(groups, kNow);
    ASSERT_TRUE(a.ok() && b.ok());
    EXPECT_NEAR(a->loss, b->loss, 1e-7);
    EXPECT_NEAR(a->grad_norm, b->grad_norm, 1e-6);
  }
  EXPECT_EQ(large.policy->forwards, 5);
  EXPECT_GT(small.policy->forwards, 25);
}

TEST(TrainerTest, RanksAgreeWithOneRankAndWithEachOther) {
  TrainerOptions options = Options();
  options.loss.kl_beta = 0.1;
  options.updates_per_batch = 2;
  const auto alone = Alone();
  Rig single(options, *alone);
  std::vector<StepRecord> expected;
  for (int step = 0; step < 20; ++step) {
    expected.push_back(*single.trainer->TrainStep(RandomGroups(step, 6, kVocab, kNow), kNow));
  }
  for (int world : {2, 3}) {
    std::vector<std::vector<float>> parameters(static_cast<size_t>(world));
    OnRanks(world, [&](Collective& collective) {
      Rig rig(options, collective);
      for (int step = 0; step < 20; ++step) {
        const auto stats = rig.trainer->TrainStep(RandomGroups(step, 6, kVocab, kNow), kNow);
        ASSERT_TRUE(stats.ok()) << stats.status();
        const StepRecord& one = expected[static_cast<size_t>(step)];
        EXPECT_NEAR(stats->loss, one.loss, 1e-5 * std::abs(one.loss) + 1e-7);
        EXPECT_NEAR(stats->grad_norm, one.grad_norm, 1e-5 * one.grad_norm);
        EXPECT_NEAR(stats->mismatch_mean, one.mismatch_mean, 1e-5);
        EXPECT_NEAR(stats->mismatch_max, one.mismatch_max, 1e-4);
        EXPECT_NEAR(stats->kl_k3, one.kl_k3, 1e-5);
        EXPECT_EQ(stats->mismatch_tokens, one.mismatch_tokens);
        EXPECT_EQ(stats->completion_tokens, one.completion_tokens);
      }
      parameters[static_cast<size_t>(collective.rank())] = Copy(rig.policy->parameters());
    });
    for (const auto& other : parameters) EXPECT_EQ(other, parameters[0]);  // the same bits
  }
}

TEST(TrainerTest, LaterUpdatesKeepTheProximalPolicyOfTheStart) {
  const auto collective = Alone();
  TrainerOptions options = Options();
  options.schedule.lr = 0.2;
  options.updates_per_batch = 3;
  Rig rig(options, *collective);
  const auto groups = RandomGroups(3, 6, kVocab, kNow);
  const auto stats = rig.trainer->TrainStep(groups, kNow);
  ASSERT_TRUE(stats.ok());
  EXPECT_EQ(stats->updates, 3);
  EXPECT_EQ(rig.trainer->counts().taken, 3);
  EXPECT_EQ(rig.policy->changes, 3);
  EXPECT_GT(stats->ratio_max, 1.05);
  EXPECT_GT(stats->kl_proximal, 0);
  EXPECT_GT(stats->clip_fraction, 0);

  // The mismatch is that of the policy at the start, also for the last groups.
  TrainerOptions still = options;
  still.schedule.lr = 0;
  Rig fixed(still, *collective);
  const auto unmoved = fixed.trainer->TrainStep(groups, kNow);
  EXPECT_NEAR(stats->mismatch_mean, unmoved->mismatch_mean, 1e-12);
  EXPECT_EQ(unmoved->ratio_max, 1);
}

TEST(TrainerTest, GroupsWithoutSignalAreCountedButNotComputed) {
  const auto collective = Alone();
  std::vector<TrajectoryGroup> groups = RandomGroups(4, 2, kVocab, kNow);
  Rig without(Options(), *collective), with(Options(), *collective);
  const auto plain = without.trainer->TrainStep(groups, kNow);
  TrajectoryGroup dull = RandomGroups(9, 1, kVocab, kNow)[0];
  for (Completion& completion : dull.completions) completion.reward.total = 0.3;
  const int64_t dull_tokens = TokensOf({dull}), tokens = TokensOf(groups);
  groups.push_back(dull);
  const auto diluted = with.trainer->TrainStep(groups, kNow);
  ASSERT_TRUE(plain.ok() && diluted.ok());
  EXPECT_EQ(diluted->skipped_tokens - plain->skipped_tokens, dull_tokens);
  EXPECT_EQ(diluted->completion_tokens, plain->completion_tokens);
  const double share = static_cast<double>(tokens) / static_cast<double>(tokens + dull_tokens);
  EXPECT_NEAR(diluted->loss, plain->loss * share, 1e-8);
  EXPECT_NEAR(diluted->grad_norm, plain->grad_norm * share, 1e-7);
  EXPECT_NEAR(diluted->zero_signal_share, 1.0 / 3, 1e-15);

  TrainerOptions with_kl = Options();
  with_kl.loss.kl_beta = 0.1;  // a KL term needs every token
  Rig kl(with_kl, *collective);
  EXPECT_EQ(kl.trainer->TrainStep(groups, kNow)->skipped_tokens, 0);
}

TEST(TrainerTest, ABatchWithoutAnySignalIsAStepOfZeroGradient) {
  const auto collective = Alone();
  Rig rig(Options(), *collective);
  std::vector<TrajectoryGroup> groups = RandomGroups(4, 2, kVocab, kNow);
  for (TrajectoryGroup& group : groups) {
    for (Completion& completion : group.completions) completion.reward.total = 1;
  }
  const std::vector<float> before = Copy(rig.policy->parameters());
  const auto stats = rig.trainer->TrainStep(groups, kNow);
  ASSERT_TRUE(stats.ok());
  EXPECT_EQ(stats->loss, 0);
  EXPECT_EQ(stats->grad_norm, 0);
  EXPECT_EQ(stats->zero_signal_share, 1);
  EXPECT_EQ(stats->mismatch_tokens, 0);
  for (const char* key : {"kl_k3", "kl_proximal", "clip_fraction", "clip_low_fraction", "clip_high_fraction",
                          "ratio_max", "mismatch_mean", "mismatch_max", "mismatch_kl", "mismatch_on_policy_max",
                          "tis_mean", "tis_max", "tis_capped_share"}) {
    EXPECT_TRUE(std::isnan((*stats).*FindStepField(key)->member)) << key << ": no token was computed";
  }
  EXPECT_EQ(Copy(rig.policy->parameters()), before);
}

TEST(TrainerTest, MismatchIsMeasuredOnEveryTokenAndOnPolicyOnes) {
  const auto collective = Alone();
  Rig rig(Options(), *collective);
  std::vector<TrajectoryGroup> groups = RandomGroups(5, 3, kVocab, kNow);
  const std::vector<float> table = Copy(rig.policy->parameters());
  double tokens = 0;
  for (TrajectoryGroup& group : groups) {
    for (Completion& completion : group.completions) {
      TokenId before = group.prompt_token_ids.back();
      for (size_t t = 0; t < completion.token_ids.size(); ++t) {
        completion.logprobs[t] =
            static_cast<float>(rig.policy->LogProb(table, static_cast<size_t>(before), completion.token_ids[t]));
        before = completion.token_ids[t];
      }
      completion.reward.total = &completion == &group.completions[0] ? 1 : 0;
      tokens += static_cast<double>(completion.token_ids.size());
    }
  }
  Completion& stale = groups[1].completions[0];
  stale.versions = {{0, {1, 3}}};
  stale.logprobs[0] += 0.5f;
  const auto stats = rig.trainer->TrainStep(groups, kNow);
  ASSERT_TRUE(stats.ok());
  EXPECT_EQ(stats->mismatch_tokens, tokens);
  EXPECT_NEAR(stats->mismatch_max, 0.5, 1e-6);
  EXPECT_NEAR(stats->mismatch_mean, 0.5 / tokens, 1e-6);
  EXPECT_NEAR(stats->mismatch_kl, (std::exp(-0.5) + 0.5 - 1) / tokens, 1e-6);
  EXPECT_EQ(stats->mismatch_on_policy_tokens, tokens - static_cast<double>(stale.token_ids.size()));
  EXPECT_EQ(stats->mismatch_on_policy_max, 0);
  EXPECT_EQ(stats->mismatch_on_policy_kl, 0);
  EXPECT_EQ(stats->staleness_max, 2);
  EXPECT_NEAR(stats->staleness_mean, 2.0 * static_cast<double>(stale.token_ids.size()) / tokens, 1e-12);
  EXPECT_NEAR(stats->tis_max, 1, 1e-6);
}

TEST(TrainerTest, WhatTheOptionsMakeMeaninglessIsAbsent) {
  const auto collective = Alone();
  TrainerOptions options = Options();
  options.loss.tis_cap.reset();
  options.truncated_sampling = true;
  Rig rig(options, *collective);
  const auto stats = rig.trainer->TrainStep(RandomGroups(5, 3, kVocab, kNow), kNow);
  ASSERT_TRUE(stats.ok());
  EXPECT_EQ(stats->mismatch_tokens, 0);
  for (const char* key : {"mismatch_mean", "mismatch_max", "mismatch_kl", "mismatch_on_policy_mean", "tis_mean",
                          "tis_max", "tis_capped_share"}) {
    EXPECT_TRUE(std::isnan((*stats).*FindStepField(key)->member)) << key;
  }
  EXPECT_EQ(stats->clip_fraction, 0) << "what is of the tokens alone is still measured";
}

TEST(TrainerTest, GroupStatsByHand) {
  Completion a, b;
  a.token_ids = {1, 2};
  a.entropy = {0.5, 1.5};
  a.versions = {{0, {1, 1}}, {1, {1, 4}}};
  a.reward.total = 1;
  a.reward.correct = 1;
  b.token_ids = {3};
  b.entropy = {1};
  b.versions = {{0, {1, 5}}};
  TrajectoryGroup group;
  group.completions = {a, b};
  StepRecord stats;
  const TrajectoryGroup* const groups[] = {&group};
  FillGroupStats(groups, kNow, AdvantageLevel::kEpisode, stats);
  EXPECT_EQ(stats.reward_mean, 0.5);
  EXPECT_EQ(stats.reward_std, 0.5);
  EXPECT_EQ(stats.correct_rate, 0.5);
  EXPECT_EQ(stats.format_rate, 0.5);
  EXPECT_EQ(stats.reward_format, 0);
  EXPECT_EQ(stats.completion_tokens_mean, 1.5);
  EXPECT_TRUE(std::isnan(stats.turns_mean)) << "no conversation";
  EXPECT_EQ(stats.entropy_mean, 1);
  EXPECT_NEAR(stats.staleness_mean, 5.0 / 3, 1e-15);
  EXPECT_EQ(stats.staleness_max, 4);
}

TEST(TrainerTest, ANonFiniteGradientSkipsTheStepAndCounts) {
  const auto collective = Alone();
  Rig rig(Options(), *collective);
  rig.policy->parameters()[0] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> before = Copy(rig.policy->parameters());
  const auto stats = rig.trainer->TrainStep(RandomGroups(6, 5, kVocab, kNow), kNow);
  ASSERT_TRUE(stats.ok());
  EXPECT_EQ(stats->skipped_updates, 1);
  EXPECT_TRUE(std::isnan(stats->grad_norm));
  EXPECT_EQ(rig.trainer->counts().skipped, 1);
  EXPECT_EQ(rig.policy->changes, 0);
  for (size_t i = 1; i < before.size(); ++i) EXPECT_EQ(rig.policy->parameters()[i], before[i]);
}

TEST(TrainerTest, AsManySkippedUpdatesInARowAreADivergence) {
  const auto collective = Alone();
  TrainerOptions options = Options();
  options.max_skipped_updates = 3;
  options.optimizer.skip_grad_norm = 1e6;
  Rig rig(options, *collective);
  const float sound = rig.policy->parameters()[0];
  const auto train = [&](float first) {
    rig.policy->parameters()[0] = first;
    EXPECT_TRUE(rig.trainer->TrainStep(RandomGroups(6, 5, kVocab, kNow), kNow).ok());
    return rig.trainer->Diverged();
  };
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(train(nan).ok());
  EXPECT_TRUE(train(nan).ok());
  EXPECT_TRUE(train(sound).ok()) << "one that was taken begins the count anew";
  EXPECT_TRUE(train(nan).ok());
  EXPECT_TRUE(train(nan).ok());
  const absl::Status diverged = train(nan);
  EXPECT_EQ(diverged.code(), absl::StatusCode::kAborted);
  EXPECT_THAT(std::string(diverged.message()),
              HasSubstr("the last 3 updates were skipped, as their gradients were not finite or longer than "
                        "optimizer.skip_grad_norm = 1e+06"));
  EXPECT_EQ(rig.trainer->counts().skipped, 5);

  options.max_skipped_updates = 0;
  Rig patient(options, *collective);
  patient.policy->parameters()[0] = nan;
  for (int step = 0; step < 20; ++step) {
    ASSERT_TRUE(patient.trainer->TrainStep(RandomGroups(6, 5, kVocab, kNow), kNow).ok());
  }
  EXPECT_TRUE(patient.trainer->Diverged().ok()) << "0: any number may be skipped";
}

TEST(TrainerTest, BadGroupsAreRefusedBeforeAnythingChanges) {
  const auto collective = Alone();
  Rig rig(Options(), *collective);
  const std::vector<std::pair<const char*, void (*)(TrajectoryGroup&)>> faults = {
      {"the prompt is empty", [](auto& g) { g.prompt_token_ids.clear(); }},
      {"no completions", [](auto& g) { g.completions.clear(); }},
      {"entries of the completion's tokens", [](auto& g) { g.completions[1].logprobs.push_back(0); }},
      {"entries of the completion's tokens", [](auto& g) { g.completions[1].credit.clear(); }},
      {"entries of the completion's tokens", [](auto& g) { g.completions[1].entropy.pop_back(); }},
      {"must be finite", [](auto& g) { g.completions[1].logprobs[0] = -std::numeric_limits<float>::infinity(); }},
      {"must be finite", [](auto& g) { g.completions[1].credit[0] = std::nanf(""); }},
      {"reward must be finite", [](auto& g) { g.completions[1].reward.total = std::nan(""); }},
      {"not in [0, 7)", [](auto& g) { g.completions[2].token_ids[0] = 7; }},
      {"not in [0, 7)", [](auto& g) { g.prompt_token_ids[0] = -3; }},
      {"micro_batch_tokens", [](auto& g) { g.prompt_token_ids.assign(100, 1); }},
  };
  for (const auto& [message, spoil] : faults) {
    std::vector<TrajectoryGroup> groups = RandomGroups(7, 3, kVocab, kNow);
    spoil(groups[1]);
    const absl::Status status = rig.trainer->TrainStep(groups, kNow).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << message;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
  }
  EXPECT_EQ(rig.policy->forwards, 0);
  EXPECT_EQ(rig.policy->changes, 0);
  EXPECT_FALSE(rig.trainer->TrainStep({}, kNow).ok());
}

TEST(TrainerTest, AReferenceIsNeededExactlyForTheKlTerm) {
  const auto collective = Alone();
  TrainerOptions options = Options();
  options.loss.kl_beta = 0.1;
  const auto policy = [] { return std::make_unique<BigramPolicy>(kVocab); };
  EXPECT_FALSE(Trainer::Create(options, policy(), nullptr, *collective).ok());
  EXPECT_FALSE(Trainer::Create(Options(), policy(), policy(), *collective).ok());
  EXPECT_FALSE(Trainer::Create(options, policy(), std::make_unique<BigramPolicy>(3), *collective).ok());

  Rig rig(options, *collective);
  EXPECT_EQ(rig.trainer->TrainStep(RandomGroups(8, 4, kVocab, kNow), kNow)->kl_k3, 0);
  EXPECT_GT(rig.trainer->TrainStep(RandomGroups(8, 4, kVocab, kNow), kNow)->kl_k3, 0);
}

TEST(TrainerTest, SftMinimisesTheMeanNegativeLogProb) {
  const auto collective = Alone();
  TrainerOptions options = Options();
  options.schedule.lr = 0.05;
  Rig rig(options, *collective);
  const std::vector<SftExample> examples = {{{1, 2}, {3, 4, 5}}, {{0}, {6}}};
  const std::vector<float> table = Copy(rig.policy->parameters());
  const auto lp = [&](size_t from, TokenId to) { return rig.policy->LogProb(table, from, to); };
  const auto first = rig.trainer->SftStep(examples);
  ASSERT_TRUE(first.ok());
  EXPECT_NEAR(first->loss, -(lp(2, 3) + lp(3, 4) + lp(4, 5) + lp(0, 6)) / 4, 1e-6);
  EXPECT_EQ(first->completion_tokens, 4);
  EXPECT_EQ(first->prompt_tokens, 3);
  double last = first->loss;
  for (int step = 0; step < 60; ++step) last = rig.trainer->SftStep(examples)->loss;
  EXPECT_LT(last, 0.3 * first->loss);
  EXPECT_FALSE(rig.trainer->SftStep({}).ok());
  EXPECT_FALSE(rig.trainer->SftStep({{{1}, {}}}).ok());
}

TEST(TrainerTest, SftOnTwoRanksEqualsOne) {
  const std::vector<SftExample> examples = {{{1, 2}, {3, 4, 5}}, {{0}, {6}}, {{5, 5}, {1, 2}}};
  const auto alone = Alone();
  Rig single(Options(), *alone);
  std::vector<double> expected;
  for (int step = 0; step < 5; ++step) expected.push_back(single.trainer->SftStep(examples)->loss);
  OnRanks(2, [&](Collective& collective) {
    Rig rig(Options(), collective);
    for (int step = 0; step < 5; ++step) {
      const auto stats = rig.trainer->SftStep(examples);
      ASSERT_TRUE(stats.ok());
      EXPECT_NEAR(stats->loss, expected[static_cast<size_t>(step)], 1e-6);
    }
  });
}

}  // namespace
}  // namespace tactus
