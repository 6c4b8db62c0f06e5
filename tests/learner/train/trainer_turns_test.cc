// Conversations in the trainer: what the environment wrote is read, and nothing of it is trained on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <random>
#include <vector>

#include "common/collective/collective.h"
#include "common/data/turns.h"
#include "common/model/folder/hf_folder.h"
#include "learner/train/lm_policy_cpu.h"
#include "learner/train/packing.h"
#include "learner/train/trainer.h"
#include "tests/learner/train/bigram_policy.h"
#include "tests/learner/train/trainer_fixtures.h"
#include "tests/tree.h"

namespace tactus {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr PolicyVersion kNow{0, 0};

// Two turns of two tokens, and `between` after each but the last. Of ids: the model's 1 to 4, the environment's 5 to 9.
TrajectoryGroup Conversations(int between, float behind = 0) {
  std::mt19937 random(3);
  TrajectoryGroup group;
  group.prompt_token_ids = {1, 2};
  for (int c = 0; c < 4; ++c) {
    Completion& completion = group.completions.emplace_back();
    for (int turn = 0; turn < 2; ++turn) {
      completion.turns.push_back({static_cast<int>(completion.token_ids.size()), 2, 0.5 * c});
      for (int t = 0; t < 2 + (turn == 0 ? between : 0); ++t) {
        const bool own = t < 2;
        completion.token_ids.push_back(static_cast<TokenId>(own ? 1 + random() % 4 : 5 + random() % 5));
        completion.logprobs.push_back(own ? -1.5f : behind);
        completion.entropy.push_back(own ? 1.0f : 0.0f);
        completion.credit.push_back(own ? 1.0f : behind);
      }
    }
    completion.versions = {{0, kNow}};
    completion.reward.total = c;
  }
  return group;
}

TrainerOptions Options() {
  TrainerOptions options;
  options.micro_batch_tokens = 96;
  options.schedule.lr = 0.01;
  options.loss.kl_beta = 0;
  return options;
}

struct Stepped {
  std::vector<float> before, after;
  StepRecord record;
};

Stepped Step(const TrajectoryGroup& group, TrainerOptions options = Options()) {
  const auto alone = *CreateCollective({});
  auto policy = std::make_unique<BigramPolicy>(10);
  Stepped out;
  out.before.assign(policy->parameters().begin(), policy->parameters().end());
  BigramPolicy* const kept = policy.get();
  const auto trainer = *Trainer::Create(options, std::move(policy), nullptr, *alone);
  const auto record = trainer->TrainStep({&group, 1}, kNow);
  EXPECT_TRUE(record.ok()) << record.status();
  out.record = *record;
  out.after.assign(kept->parameters().begin(), kept->parameters().end());
  return out;
}

TEST(PackTurnsTest, TargetsAreTheModelsTokens) {
  const std::vector<TokenId> prompt = {10, 11}, completion = {20, 21, 5, 6, 22, 7, 23};
  const std::vector<float> logprobs = {-1, -2, 0, 0, -3, 0, -4}, credit = {1, 2, 0, 0, 3, 0, 4};
  const std::vector<VersionSpan> versions = {{0, {0, 1}}, {4, kNow}};
  const std::vector<Turn> turns = {{0, 2, 0}, {4, 1, 0}, {6, 1, 0}};
  const SequenceView view{prompt, completion, 0, {0.5, -1, 2}, logprobs, credit, versions, turns};
  const auto batch = PackSequences({&view, 1}, 31, kNow);
  ASSERT_TRUE(batch.ok()) << batch.status();
  const TrainBatch::Fields& fields = batch->fields();
  EXPECT_THAT(fields.sequences.token_ids, ElementsAre(10, 11, 20, 21, 5, 6, 22, 7)) << "all of it is context";
  EXPECT_THAT(fields.sequences.targets, ElementsAre(20, 21, 22, 23));
  EXPECT_THAT(fields.sequences.target_rows, ElementsAre(1, 2, 5, 7));
  EXPECT_THAT(fields.advantages, ElementsAre(0.5, 0.5, -1, 2)) << "each turn's own";
  EXPECT_THAT(fields.behavior_logprobs, ElementsAre(-1, -2, -3, -4));
  EXPECT_THAT(fields.credit, ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(fields.on_policy, ElementsAre(0, 0, 1, 1));
}

TEST(PackTurnsTest, RefusesTurnsOutOfTheCompletion) {
  const std::vector<TokenId> prompt = {1}, completion = {2, 3, 4};
  const auto error = [&](const std::vector<Turn>& turns) {
    SequenceView view;
    view.prompt = prompt;
    view.completion = completion;
    view.turns = turns;
    return std::string(PackSequences({&view, 1}, 5, {}).status().message());
  };
  EXPECT_EQ(error({{0, 1, 0}, {2, 1, 0}}), "");
  EXPECT_THAT(error({{0, 1, 0}, {2, 2, 0}}), HasSubstr("turns end at 4 of 3"));
  EXPECT_THAT(error({{0, 2, 0}, {1, 1, 0}}), HasSubstr("must increase"));
  EXPECT_THAT(error({{-1, 1, 0}}), HasSubstr("must increase"));
  EXPECT_THAT(error({{0, 0, 0}}), HasSubstr("hold a token"));
}

TEST(PackTurnsTest, RefusesOtherAdvantagesThanThoseOfTheTurns) {
  const std::vector<TokenId> prompt = {1}, completion = {2, 3, 4};
  const std::vector<Turn> turns = {{0, 1, 0}, {2, 1, 0}};
  const auto error = [&](std::vector<double> advantages, bool conversation) {
    SequenceView view;
    view.prompt = prompt;
    view.completion = completion;
    if (conversation) view.turns = turns;
    view.advantages = std::move(advantages);
    return std::string(PackSequences({&view, 1}, 5, {}).status().message());
  };
  for (const bool conversation : {false, true}) {
    EXPECT_EQ(error({}, conversation), "");
    EXPECT_EQ(error({1}, conversation), "") << "all share it";
    EXPECT_EQ(error({1, 2}, conversation), conversation ? "" : error({1, 2}, false));
    EXPECT_THAT(error({1, 2, 3}, conversation), HasSubstr("advantages has 3 entries"));
  }
  EXPECT_THAT(error({1, 2}, false), HasSubstr("advantages has 2 entries, expected 1"));
}

// In the bigram policy a row of the table predicts what follows one token, so a row that is never before a token of the
// model's has no other source of a gradient than the environment's tokens.
TEST(TrainerTurnsTest, WhatTheEnvironmentWroteHasNoGradientAtAll) {
  const TrajectoryGroup group = Conversations(3);
  std::vector<bool> predicts(10, false), stands_before(10, false);  // a token of the model's; any
  for (const Completion& completion : group.completions) {
    for (size_t t = 0; t + 1 < completion.token_ids.size(); ++t) {
      stands_before[static_cast<size_t>(completion.token_ids[t])] = true;
    }
    for (const Turn& turn : completion.turns) {
      for (int t = turn.start_token; t < turn.start_token + turn.num_tokens; ++t) {
        const TokenId from = t == 0 ? group.prompt_token_ids.back() : completion.token_ids[static_cast<size_t>(t) - 1];
        predicts[static_cast<size_t>(from)] = true;
      }
    }
  }
  const Stepped step = Step(group);
  int moved = 0, still = 0;
  for (size_t row = 0; row < 10; ++row) {
    for (size_t i = 10 * row; i < 10 * row + 10; ++i) {
      if (predicts[row]) {
        moved += step.after[i] != step.before[i] ? 1 : 0;
      } else {
        EXPECT_EQ(step.after[i], step.before[i]) << "row " << row;
        still += stands_before[row] ? 1 : 0;
      }
    }
  }
  EXPECT_GT(moved, 0);
  EXPECT_GT(still, 0) << "every row predicts something of the model's: the test says nothing";
}

TEST(TrainerTurnsTest, NothingRecordedOfTheEnvironmentsTokensReachesTheStep) {
  TrainerOptions options = Options();
  options.loss.tis_cap = 2;
  for (const PolicyLossKind loss : {PolicyLossKind::kClip, PolicyLossKind::kGspo, PolicyLossKind::kCispo}) {
    options.loss.loss = loss;
    const Stepped zero = Step(Conversations(3, 0), options), other = Step(Conversations(3, -7.5f), options);
    EXPECT_EQ(zero.after, other.after);
    EXPECT_EQ(zero.record.loss, other.record.loss);
    EXPECT_EQ(zero.record.mismatch_max, other.record.mismatch_max);
    EXPECT_EQ(zero.record.grad_norm, other.record.grad_norm);
  }
}

TEST(TrainerTurnsTest, CountsTheModelsTokensAsAnswerAndTheOthersAsPrompt) {
  const Stepped step = Step(Conversations(3));
  EXPECT_EQ(step.record.completion_tokens + step.record.skipped_tokens, 4 * 4);
  EXPECT_EQ(step.record.completion_tokens_mean, 4);
  EXPECT_EQ(step.record.turns_mean, 2);
  EXPECT_EQ(step.record.entropy_mean, 1);
  EXPECT_EQ(step.record.mismatch_tokens, step.record.completion_tokens);
  const double answers = step.record.completion_tokens / 4;
  EXPECT_GT(answers, 1);
  EXPECT_EQ(step.record.prompt_tokens, 2 + answers * 3) << "the prompt once";
}

// The environment's tokens between the turns change what the model reads, and the divisor of its loss not at all: in a
// bigram policy the second turn's first token alone sees another token before it.
TEST(TrainerTurnsTest, ATokensWeightDoesNotDependOnHowMuchTheEnvironmentSays) {
  const Stepped few = Step(Conversations(1)), many = Step(Conversations(30));
  EXPECT_EQ(few.record.completion_tokens, many.record.completion_tokens);
  EXPECT_EQ(few.record.advantage_max, many.record.advantage_max);
}

// Conversations with other rewards in their turns, and one that has a single turn.
TrajectoryGroup Ragged() {
  TrajectoryGroup group = Conversations(3);
  const std::vector<std::vector<double>> rewards = {{0.25, 1}, {1, 0}, {0.5}, {-0.25, 0.5}};
  for (size_t c = 0; c < rewards.size(); ++c) {
    Completion& completion = group.completions[c];
    completion.turns.resize(rewards[c].size());
    completion.reward.total = 0;
    for (size_t k = 0; k < rewards[c].size(); ++k) {
      completion.turns[k].reward = rewards[c][k];
      completion.reward.total += rewards[c][k];
    }
    const auto tokens = static_cast<size_t>(completion.turns.back().start_token + completion.turns.back().num_tokens);
    completion.token_ids.resize(tokens);
    for (std::vector<float>* values : {&completion.logprobs, &completion.entropy, &completion.credit}) {
      values->resize(tokens);
    }
  }
  return group;
}

// Calls f(completion, turn, the token before, the token) for each of the model's.
template <typename F>
void ForEachSampled(const TrajectoryGroup& group, F f) {
  for (size_t c = 0; c < group.completions.size(); ++c) {
    const Completion& completion = group.completions[c];
    for (size_t k = 0; k < completion.turns.size(); ++k) {
      for (int i = 0; i < completion.turns[k].num_tokens; ++i) {
        const auto t = static_cast<size_t>(completion.turns[k].start_token + i);
        f(c, k, t == 0 ? group.prompt_token_ids.back() : completion.token_ids[t - 1], completion.token_ids[t]);
      }
    }
  }
}

struct ByHand {
  double loss = 0, grad_norm = 0;
};

// Of the policy that sampled, -A log p of each token, over all of the group's.
ByHand LossOf(const TrajectoryGroup& group, const PerTurn& advantages) {
  BigramPolicy policy(10);
  const std::vector<float> table(policy.parameters().begin(), policy.parameters().end());
  std::vector<double> gradient(table.size(), 0);
  double tokens = 0;
  ForEachSampled(group, [&](size_t, size_t, TokenId, TokenId) { tokens += 1; });
  ByHand out;
  ForEachSampled(group, [&](size_t c, size_t k, TokenId before, TokenId token) {
    const double advantage = advantages[0][c][k];
    out.loss -= advantage / tokens;
    for (TokenId j = 0; j < 10; ++j) {
      const double p = std::exp(policy.LogProb(table, static_cast<size_t>(before), j));
      gradient[static_cast<size_t>(10 * before + j)] -= advantage / tokens * ((j == token ? 1 : 0) - p);
    }
  });
  for (const double slope : gradient) out.grad_norm += slope * slope;
  out.grad_norm = std::sqrt(out.grad_norm);
  return out;
}

TEST(TrainerTurnsTest, ByTurnEachTurnsTokensHaveItsAdvantage) {
  const TrajectoryGroup group = Ragged();
  TrainerOptions options = Options();
  options.estimator = Estimator::kDrGrpo;
  options.advantage_level = AdvantageLevel::kTurn;
  // Returns of the first turns 1.25, 1, 0.5, 0.25: mean 0.75; of the second ones 1, 0, 0.5: mean 0.5.
  const ByHand expected = LossOf(group, {{{0.5, 0.5}, {0.25, -0.5}, {-0.25}, {-0.5, 0}}});
  const Stepped step = Step(group, options);
  EXPECT_NEAR(step.record.loss, expected.loss, 1e-7);
  EXPECT_NEAR(step.record.grad_norm, expected.grad_norm, 1e-6);
  EXPECT_EQ(step.record.advantage_min, -0.5);
  EXPECT_EQ(step.record.advantage_max, 0.5);
  EXPECT_EQ(step.record.advantage_mean, 0) << "of the turns, whose number is seven";
  EXPECT_EQ(step.record.reward_mean, 0.75) << "of the answers";
  EXPECT_EQ(step.record.turns_mean, 7.0 / 4);
  options.advantage_level = AdvantageLevel::kEpisode;
  const ByHand whole = LossOf(group, {{{0.5, 0.5}, {0.25, 0.25}, {-0.25}, {-0.5, -0.5}}});
  const Stepped episode = Step(group, options);
  EXPECT_NEAR(episode.record.loss, whole.loss, 1e-7);
  EXPECT_NEAR(episode.record.grad_norm, whole.grad_norm, 1e-6);
  EXPECT_NE(episode.after, step.after);
}

TEST(TrainerTurnsTest, ByTurnAnswersOfEqualSumsHaveASignal) {
  TrajectoryGroup group = Conversations(3);
  for (size_t c = 0; c < 4; ++c) {
    group.completions[c].reward.total = 1;
    group.completions[c].turns[0].reward = c == 0 ? 0 : 1;
    group.completions[c].turns[1].reward = c == 0 ? 1 : 0;
  }
  TrainerOptions options = Options();
  const Stepped episode = Step(group, options);
  EXPECT_EQ(episode.record.zero_signal_share, 1);
  EXPECT_EQ(episode.after, episode.before);
  options.advantage_level = AdvantageLevel::kTurn;
  const Stepped turn = Step(group, options);
  EXPECT_EQ(turn.record.zero_signal_share, 0);
  EXPECT_EQ(turn.record.completion_tokens, 4 * 4);
  EXPECT_NE(turn.after, turn.before);
}

TEST(TrainerTurnsTest, ByTurnKlAndLengthAreChargedWhereTheyArose) {
  const TrajectoryGroup group = Ragged();
  TrainerOptions options = Options();
  options.estimator = Estimator::kDrGrpo;
  options.advantage_level = AdvantageLevel::kTurn;
  TrajectoryGroup by_hand = group;
  BigramPolicy policy(10);
  const std::vector<float> table(policy.parameters().begin(), policy.parameters().end());
  ForEachSampled(group, [&](size_t c, size_t k, TokenId before, TokenId token) {
    const auto log_ratio = static_cast<float>(policy.LogProb(table, static_cast<size_t>(before), token)) + 1.5;
    by_hand.completions[c].turns[k].reward -= 0.125 * KlEstimate(KlEstimator::kK3, log_ratio);
  });
  for (const size_t c : {0, 1, 3}) by_hand.completions[c].turns.back().reward -= 0.5 * 2 / 3;  // 4 tokens of at most 5
  const Stepped expected = Step(by_hand, options);
  options.shaping = {.max_tokens = 5, .buffer_tokens = 3, .penalty = 0.5, .kl_beta = 0.125};
  const auto alone = *CreateCollective({});
  const auto trainer =
      *Trainer::Create(options, std::make_unique<BigramPolicy>(10), std::make_unique<BigramPolicy>(10), *alone);
  const auto charged = trainer->TrainStep({&group, 1}, kNow);
  ASSERT_TRUE(charged.ok()) << charged.status();
  EXPECT_NEAR(charged->loss, expected.record.loss, 1e-7);
  EXPECT_NEAR(charged->grad_norm, expected.record.grad_norm, 1e-6);
  EXPECT_NEAR(charged->advantage_max, expected.record.advantage_max, 1e-9);
}

TEST(TrainerTurnsTest, RefusesRewardsOfTurnsThatAreNoNumbers) {
  TrajectoryGroup group = Ragged();
  group.completions[1].turns[0].reward = std::nan("");
  const auto alone = *CreateCollective({});
  const auto trainer = *Trainer::Create(Options(), std::make_unique<BigramPolicy>(10), nullptr, *alone);
  EXPECT_THAT(std::string(trainer->TrainStep({&group, 1}, kNow).status().message()),
              HasSubstr("rewards of the turns must be finite"));
}

TEST(TrainerTurnsTest, LogProbsOfTheModelsTokensAreThoseOfTheWholeSequence) {
  const auto folder = *OpenModelFolder(SourcePath("tests/goldens/models/qwen3"));
  auto model = *DecoderWeightsCpu::Create(folder.config, StorageDType::kFloat32);
  ASSERT_TRUE(LoadParameters(folder, model->flat()).ok());
  model->Pack();
  const auto policy = MakeLmPolicyCpu(std::move(model), {});
  const TrajectoryGroup group = Conversations(5);
  const Completion& completion = group.completions[2];
  SequenceView view;
  view.prompt = group.prompt_token_ids;
  view.completion = completion.token_ids;
  const auto logprobs = [&] {
    const auto batch = PackSequences({&view, 1}, policy->vocab_size(), kNow);
    EXPECT_TRUE(batch.ok()) << batch.status();
    std::vector<float> out(batch->num_targets());
    EXPECT_TRUE(policy->ForwardOnly(batch->fields().sequences, out).ok());
    return out;
  };
  const std::vector<float> whole = logprobs();
  view.turns = completion.turns;
  EXPECT_EQ(logprobs(), OfSampled(completion.turns, std::span<const float>(whole)));
}

}  // namespace
}  // namespace tactus
