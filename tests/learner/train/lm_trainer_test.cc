// The Trainer on a real decoder: ranks agree, log-probs agree, learning works.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "common/model/folder/hf_folder.h"
#include "learner/train/lm_policy_cpu.h"
#include "learner/train/trainer.h"
#include "tests/learner/train/trainer_fixtures.h"
#include "tests/tree.h"

namespace tactus {
namespace {

constexpr PolicyVersion kNow{0, 0};

std::unique_ptr<TrainablePolicy> TinyPolicy(const std::string& name = "qwen3") {
  const auto folder = OpenModelFolder(SourcePath("tests/goldens/models/") + name);
  EXPECT_TRUE(folder.ok()) << folder.status();
  auto model = DecoderWeightsCpu::Create(folder->config, StorageDType::kFloat32);
  EXPECT_TRUE(model.ok()) << model.status();
  EXPECT_TRUE(LoadParameters(*folder, (*model)->flat()).ok());
  (*model)->Pack();
  return MakeLmPolicyCpu(*std::move(model), {});
}

TrainerOptions Options() {
  TrainerOptions options;
  options.micro_batch_tokens = 96;
  options.schedule.lr = 1e-3;
  options.loss.tis_cap = 2;
  options.loss.kl_beta = 0.05;
  return options;
}

std::unique_ptr<Trainer> MakeTrainer(const TrainerOptions& options, Collective& collective) {
  std::unique_ptr<TrainablePolicy> reference;
  if (options.loss.kl_beta > 0) reference = TinyPolicy();
  auto trainer = Trainer::Create(options, TinyPolicy(), std::move(reference), collective);
  EXPECT_TRUE(trainer.ok()) << trainer.status();
  return *std::move(trainer);
}

std::vector<TrajectoryGroup> Groups(int step) { return RandomGroups(100 + step, 6, 176, kNow); }

TEST(LmTrainerTest, TwoRanksFollowOneRankOverTwentySteps) {
  constexpr int kSteps = 20;
  const auto alone = *CreateCollective({});
  const auto single = MakeTrainer(Options(), *alone);
  std::vector<StepRecord> expected;
  for (int step = 0; step < kSteps; ++step) {
    const auto stats = single->TrainStep(Groups(step), kNow);
    ASSERT_TRUE(stats.ok()) << stats.status();
    expected.push_back(*stats);
  }
  std::vector<std::vector<float>> parameters(2);
  OnRanks(2, [&](Collective& collective) {
    const auto trainer = MakeTrainer(Options(), collective);
    for (int step = 0; step < kSteps; ++step) {
      const auto stats = trainer->TrainStep(Groups(step), kNow);
      ASSERT_TRUE(stats.ok()) << stats.status();
      const StepRecord& one = expected[static_cast<size_t>(step)];
      // Centred advantages cancel: what is left of the loss is small against what was summed.
      EXPECT_NEAR(stats->loss, one.loss, 1e-5 * std::abs(one.loss) + 1e-7) << step;
      EXPECT_NEAR(stats->grad_norm, one.grad_norm, 1e-5 * one.grad_norm) << step;
    }
    const std::vector<float> end = trainer->policy().state().ReadState()->parameters;
    parameters[static_cast<size_t>(collective.rank())].assign(end.begin(), end.end());
  });
  EXPECT_EQ(parameters[0], parameters[1]);
}

TEST(LmTrainerTest, RecordedLogProbsOfTheSamePolicyMatchToTheLastBit) {
  const auto collective = *CreateCollective({});
  TrainerOptions options = Options();
  options.loss.kl_beta = 0;
  const auto trainer = MakeTrainer(options, *collective);
  std::vector<TrajectoryGroup> groups = Groups(0);
  for (TrajectoryGroup& group : groups) {  // each completion alone: no packing neighbour may matter
    for (Completion& completion : group.completions) {
      SequenceView view;
      view.prompt = group.prompt_token_ids;
      view.completion = completion.token_ids;
      const auto batch = PackSequences({&view, 1}, 176, kNow);
      ASSERT_TRUE(batch.ok());
      ASSERT_TRUE(trainer->policy().ForwardOnly(batch->fields().sequences, completion.logprobs).ok());
    }
  }
  const auto stats = trainer->TrainStep(groups, kNow);
  ASSERT_TRUE(stats.ok());
  EXPECT_GT(stats->mismatch_on_policy_tokens, 50);
  EXPECT_EQ(stats->mismatch_on_policy_max, 0);
  EXPECT_EQ(stats->tis_max, 1);
}

// Groups of a prompt of 37 tokens and answers of 9: 45 rows, and 9 for each answer more that has its prompt before it.
std::vector<TrajectoryGroup> LongPrompts(size_t count) {
  std::mt19937 random(5);
  std::vector<TrajectoryGroup> groups = RandomGroups(6, count, 176, kNow);
  for (TrajectoryGroup& group : groups) {
    group.prompt_token_ids.clear();
    for (int t = 0; t < 37; ++t) group.prompt_token_ids.push_back(static_cast<TokenId>(random() % 176));
    for (Completion& completion : group.completions) {
      completion.token_ids.clear();
      for (int t = 0; t < 9; ++t) completion.token_ids.push_back(static_cast<TokenId>(random() % 176));
      for (auto* values : {&completion.logprobs, &completion.entropy, &completion.credit}) values->assign(9, 1.0f);
      completion.logprobs.assign(9, -2.0f);
    }
  }
  return groups;
}

// A prompt that its answers share, in one micro-batch, in several or on several ranks, trains what every answer with a
// prompt of its own does. With a KL term, so that the reference's log-probs count too.
TEST(LmTrainerTest, SharedPromptsTrainWhatWholeSequencesDo) {
  constexpr int64_t kWhole = 45, kTorn = 60, kShared = 4096;
  constexpr int kSteps = 2;  // Adam turns rounding of small gradients into whole steps
  const std::vector<TrajectoryGroup> groups = LongPrompts(5);
  TrainerOptions options = Options();
  options.micro_batch_tokens = kWhole;
  const auto alone = *CreateCollective({});
  const auto whole = MakeTrainer(options, *alone);
  std::vector<StepRecord> expected;
  for (int step = 0; step < kSteps; ++step) {
    const auto stats = whole->TrainStep(groups, kNow);
    ASSERT_TRUE(stats.ok()) << stats.status();
    expected.push_back(*stats);
  }
  for (const int world : {1, 2, 3}) {
    for (const int64_t budget_tokens : {kWhole, kTorn, kShared}) {
      OnRanks(world, [&](Collective& collective) {
        TrainerOptions cut = options;
        cut.micro_batch_tokens = budget_tokens;
        const auto trainer = MakeTrainer(cut, collective);
        for (int step = 0; step < kSteps; ++step) {
          const auto stats = trainer->TrainStep(groups, kNow);
          ASSERT_TRUE(stats.ok()) << stats.status();
          const StepRecord& one = expected[static_cast<size_t>(step)];
          EXPECT_NEAR(stats->loss, one.loss, 1e-5 * std::abs(one.loss) + 1e-7) << step;
          EXPECT_NEAR(stats->grad_norm, one.grad_norm, 1e-5 * one.grad_norm) << step;
          if (step > 0) continue;  // the weights are the same yet
          EXPECT_EQ(stats->mismatch_max, one.mismatch_max);
          EXPECT_EQ(stats->prompt_tokens, 5 * 37);
        }
      });
    }
  }
}

TEST(LmTrainerTest, RewardedTokensBecomeLikelier) {
  const auto collective = *CreateCollective({});
  TrainerOptions options = Options();
  options.loss.kl_beta = 0;
  options.loss.tis_cap.reset();
  const auto trainer = MakeTrainer(options, *collective);
  std::vector<TrajectoryGroup> groups = Groups(1);
  for (TrajectoryGroup& group : groups) {
    for (Completion& completion : group.completions) completion.reward.total = 0;
    group.completions[0].reward.total = 1;
  }
  SequenceView rewarded;
  rewarded.prompt = groups[0].prompt_token_ids;
  rewarded.completion = groups[0].completions[0].token_ids;
  const auto batch = PackSequences({&rewarded, 1}, 176, kNow);
  ASSERT_TRUE(batch.ok());
  const auto log_prob = [&] {
    std::vector<float> values(rewarded.completion.size());
    EXPECT_TRUE(trainer->policy().ForwardOnly(batch->fields().sequences, values).ok());
    double sum = 0;
    for (const float value : values) sum += value;
    return sum;
  };
  const double before = log_prob();
  for (int step = 0; step < 10; ++step) ASSERT_TRUE(trainer->TrainStep(groups, kNow).ok());
  EXPECT_GT(log_prob(), before + 1);
}

TEST(LmTrainerTest, SftLearnsItsExamples) {
  const auto collective = *CreateCollective({});
  TrainerOptions options = Options();
  options.loss.kl_beta = 0;
  options.schedule.lr = 3e-3;
  const auto trainer = MakeTrainer(options, *collective);
  const std::vector<SftExample> examples = {{{1, 5, 9}, {7, 8, 9, 2}}, {{1, 6}, {3, 4, 2}}};
  const double first = trainer->SftStep(examples)->loss;
  EXPECT_GT(first, 3);
  double last = first;
  for (int step = 0; step < 40; ++step) last = trainer->SftStep(examples)->loss;
  EXPECT_LT(last, 0.2 * first);
}

TEST(LmTrainerTest, RestoredStateContinuesWithTheSameBits) {
  const auto collective = *CreateCollective({});
  const auto whole = MakeTrainer(Options(), *collective), first = MakeTrainer(Options(), *collective);
  for (int step = 0; step < 4; ++step) ASSERT_TRUE(whole->TrainStep(Groups(step), kNow).ok());
  for (int step = 0; step < 2; ++step) ASSERT_TRUE(first->TrainStep(Groups(step), kNow).ok());
  const auto second = MakeTrainer(Options(), *collective);
  EXPECT_FALSE(second->Restore(*first->policy().state().ReadState(), {.taken = -1}).ok());
  EXPECT_FALSE(second->Restore({}, first->counts()).ok());
  ASSERT_TRUE(second->Restore(*first->policy().state().ReadState(), first->counts()).ok());
  for (int step = 2; step < 4; ++step) ASSERT_TRUE(second->TrainStep(Groups(step), kNow).ok());
  const std::vector<float> a = whole->policy().state().ReadState()->parameters;
  const std::vector<float> b = second->policy().state().ReadState()->parameters;
  EXPECT_TRUE(std::equal(a.begin(), a.end(), b.begin()));
}

}  // namespace
}  // namespace tactus
