// A step's groups in portions, against all of them at once: the same bits, on as many ranks.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <mutex>

#include "common/model/folder/hf_folder.h"
#include "learner/train/create_policy.h"
#include "learner/train/trainer.h"
#include "tests/learner/train/bigram_policy.h"
#include "tests/learner/train/trainer_fixtures.h"
#include "tests/tree.h"

namespace tactus {
namespace {

using ::testing::HasSubstr;

constexpr PolicyVersion kNow{0, 0};
constexpr int kSteps = 6;
constexpr size_t kGroups = 12;  // about 360 tokens

struct Case {
  const char* name = "";
  std::function<void(TrainerOptions&)> set;
  bool streams = true;
  Shard shard = Shard::kNone;
  StorageDType dtype = StorageDType::kFloat32;
};

const Case kCases[] = {
    {"GrpoClipTokenMean", [](TrainerOptions& o) { o.loss.tis_cap = 2; }},
    {"DrGrpoCispoFixedLength",
     [](TrainerOptions& o) {
       o.estimator = Estimator::kDrGrpo;
       o.loss.loss = PolicyLossKind::kCispo;
       o.loss.aggregation = LossAggregation::kFixedLength;
       o.loss.fixed_length_tokens = 16;
     }},
    {"RlooGspoSeqMeanWithAReference",
     [](TrainerOptions& o) {
       o.estimator = Estimator::kRloo;
       o.loss.loss = PolicyLossKind::kGspo;
       o.loss.aggregation = LossAggregation::kSeqMean;
       o.loss.kl_beta = 0.05;
     }},
    {"ThreeUpdates", [](TrainerOptions& o) { o.updates_per_batch = 3; }},
    {"LengthPenaltyAndMask",
     [](TrainerOptions& o) {
       o.shaping = {.max_tokens = 9, .buffer_tokens = 6, .penalty = 0.5};
       o.mask_overlong = true;
     }},
    {"BFloat16", [](TrainerOptions&) {}, true, Shard::kNone, StorageDType::kBFloat16},
    {"OptimizerDivided", [](TrainerOptions&) {}, true, Shard::kOptimizer},
    {"GradientsDivided", [](TrainerOptions& o) { o.updates_per_batch = 2; }, true, Shard::kGradients},
    {"ParametersDivided", [](TrainerOptions& o) { o.loss.kl_beta = 0.05; }, true, Shard::kParameters},
    {"ReinforcePpWaits", [](TrainerOptions& o) { o.estimator = Estimator::kReinforcePp; }, false},
    {"ReinforcePpBaselineWaits", [](TrainerOptions& o) { o.estimator = Estimator::kReinforcePpBaseline; }, false},
    {"KlInTheRewardWaits", [](TrainerOptions& o) { o.shaping.kl_beta = 0.05; }, false},
    {"SwitchedOff", [](TrainerOptions& o) { o.stream = false; }, false},
};

// Counts the passes that a later Backward may belong to.
class CountedPolicy : public TrainablePolicy {
 public:
  CountedPolicy(std::unique_ptr<TrainablePolicy> inner, int& forwards)
      : inner_(std::move(inner)), forwards_(forwards) {}
  const ParameterLayout& layout() const override { return inner_->layout(); }
  int64_t vocab_size() const override { return inner_->vocab_size(); }
  PassCost pass_cost() const override { return inner_->pass_cost(); }
  bool collective_passes() const override { return inner_->collective_passes(); }
  absl::Status Forward(const TrainSequences& sequences, std::span<float> logprobs,
                       std::span<float> entropies) override {
    ++forwards_;
    return inner_->Forward(sequences, logprobs, entropies);
  }
  absl::Status ForwardOnly(const TrainSequences& sequences, std::span<float> logprobs) override {
    return inner_->ForwardOnly(sequences, logprobs);
  }
  absl::Status Backward(const TargetGradient& gradient, Collective* reduce_over) override {
    return inner_->Backward(gradient, reduce_over);
  }
  TrainableParameters& state() override { return inner_->state(); }

 private:
  const std::unique_ptr<TrainablePolicy> inner_;
  int& forwards_;
};

struct Rig {
  Rig(const Case& setup, Collective& collective) {
    TrainerOptions options;
    options.micro_batch_tokens = 48;
    options.schedule.lr = 1e-3;
    options.optimizer.weight_decay = 0.1;
    options.optimizer.max_grad_norm = 0.5;
    setup.set(options);
    const ModelFolder folder = *OpenModelFolder(SourcePath("tests/goldens/models/") +
                                                (setup.dtype == StorageDType::kFloat32 ? "qwen3" : "qwen3_bf16"));
    PolicyOptions policy{.dtype = setup.dtype,
                         .trainable = {},
                         .device = {},
                         .sharding = {.shard = setup.shard,
                                      .rank = collective.rank(),
                                      .world = collective.size(),
                                      .bucket_bytes = 4096 * 4},
                         .collective = &collective};
    auto counted = std::make_unique<CountedPolicy>(*CreatePolicy(folder, policy), forwards);
    policy.sharding.trains = false;
    std::unique_ptr<TrainablePolicy> reference;
    if (options.needs_reference()) reference = *CreatePolicy(folder, policy);
    trainer = *Trainer::Create(options, std::move(counted), std::move(reference), collective);
  }
  int forwards = 0;
  std::unique_ptr<Trainer> trainer;
};

std::vector<TrajectoryGroup> Groups(int step) {
  std::vector<TrajectoryGroup> groups = RandomGroups(100 + step, kGroups, 128, kNow);
  for (Completion& completion : groups[4].completions) completion.reward.total = 1;  // no signal: nothing to compute
  groups[5].completions[1].finish_reason = FinishReason::kLength;
  return groups;
}

// The groups in portions of a random size.
absl::StatusOr<StepRecord> StepInPortions(Trainer& trainer, const std::vector<TrajectoryGroup>& groups,
                                          std::mt19937& random, const std::function<void()>& before_last) {
  absl::Status status = trainer.BeginStep(groups.size(), kNow);
  for (size_t begin = 0; status.ok() && begin < groups.size();) {
    const size_t count = std::min<size_t>(1 + random() % 3, groups.size() - begin);
    if (begin + count == groups.size()) before_last();
    status = trainer.AddGroups(std::span(groups).subspan(begin, count));
    begin += count;
  }
  if (!status.ok()) return status;
  return trainer.FinishStep();
}

class StreamTest : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Options, StreamTest, testing::ValuesIn(kCases),
                         [](const auto& setup) { return setup.param.name; });

TEST_P(StreamTest, PortionsHaveTheBitsOfTheWhole) {
  for (const int world : {1, 2, 3}) {
    std::mutex mutex;
    int early = 0;
    OnRanks(world, [&](Collective& collective) {
      Rig whole(GetParam(), collective), portions(GetParam(), collective);
      EXPECT_EQ(portions.trainer->streams(), GetParam().streams);
      std::mt19937 random(static_cast<uint32_t>(10 * world + collective.rank()));  // not even the same on all ranks
      int before_last = 0;
      for (int step = 0; step < kSteps; ++step) {
        const std::vector<TrajectoryGroup> groups = Groups(step);
        const int before = portions.forwards;
        const auto expected = whole.trainer->TrainStep(groups, kNow);
        const auto actual =
            StepInPortions(*portions.trainer, groups, random, [&] { before_last += portions.forwards - before; });
        ASSERT_TRUE(expected.ok() && actual.ok()) << expected.status() << actual.status();
        EXPECT_GT(expected->grad_norm, 0);
        EXPECT_EQ(actual->grad_norm, expected->grad_norm) << "step " << step;
        EXPECT_EQ(actual->loss, expected->loss) << "step " << step;
        EXPECT_EQ(actual->advantage_mean, expected->advantage_mean);
        EXPECT_EQ(actual->reward_std, expected->reward_std);
        EXPECT_EQ(actual->completion_tokens, expected->completion_tokens);
      }
      const ParameterSnapshot a = *whole.trainer->policy().state().ReadState();
      const ParameterSnapshot b = *portions.trainer->policy().state().ReadState();
      EXPECT_EQ(a.parameters, b.parameters);
      EXPECT_EQ(a.first_moment, b.first_moment);
      EXPECT_EQ(a.second_moment, b.second_moment);
      EXPECT_EQ(whole.forwards, portions.forwards);
      const std::lock_guard lock(mutex);
      early += before_last;
    });
    if (GetParam().streams) {
      EXPECT_GE(early, kSteps) << "on " << world << " ranks nothing was computed before the last group was in";
    } else {
      EXPECT_EQ(early, 0);
    }
  }
}

// What a pass has left under way, and in the gradients, is gone.
TEST_P(StreamTest, AnAbandonedStepLeavesNothing) {
  OnRanks(2, [&](Collective& collective) {
    Rig straight(GetParam(), collective), rig(GetParam(), collective);
    for (int step = 0; step < 2; ++step) {
      const std::vector<TrajectoryGroup> groups = Groups(step), others = Groups(50 + step);
      ASSERT_TRUE(rig.trainer->BeginStep(kGroups, kNow).ok());
      ASSERT_TRUE(rig.trainer->AddGroups(std::span(others).first(kGroups - 1)).ok());
      ASSERT_TRUE(rig.trainer->AbandonStep().ok());
      const auto expected = straight.trainer->TrainStep(groups, kNow), actual = rig.trainer->TrainStep(groups, kNow);
      ASSERT_TRUE(expected.ok() && actual.ok());
      EXPECT_EQ(actual->grad_norm, expected->grad_norm);
      EXPECT_EQ(actual->loss, expected->loss);
    }
    EXPECT_EQ(rig.trainer->policy().state().ReadState()->parameters,
              straight.trainer->policy().state().ReadState()->parameters);
    EXPECT_EQ(rig.trainer->counts().taken, straight.trainer->counts().taken);
  });
}

TEST(StreamCallsTest, CallsOutOfOrderAreRefused) {
  const auto alone = *CreateCollective({});
  TrainerOptions options;
  options.updates_per_batch = 2;
  const auto trainer = *Trainer::Create(options, std::make_unique<BigramPolicy>(7), nullptr, *alone);
  const std::vector<TrajectoryGroup> groups = RandomGroups(1, 3, 7, kNow);
  EXPECT_EQ(trainer->AddGroups(groups).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(trainer->FinishStep().status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(trainer->AbandonStep().ok());
  EXPECT_THAT(std::string(trainer->BeginStep(1, kNow).message()), HasSubstr("among 2 updates"));
  ASSERT_TRUE(trainer->BeginStep(2, kNow).ok());
  EXPECT_EQ(trainer->BeginStep(2, kNow).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(trainer->AddGroups(groups).message()), HasSubstr("has 0 and was given 3 more"));
  ASSERT_TRUE(trainer->AddGroups(std::span(groups).first(1)).ok());
  EXPECT_EQ(trainer->FinishStep().status().code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(trainer->AddGroups(std::span(groups).subspan(1, 1)).ok());
  EXPECT_EQ(trainer->FinishStep()->updates, 2);
}

TEST(StreamCallsTest, EveryReasonToWaitIsSaid) {
  TrainerOptions options;
  EXPECT_EQ(options.WhyWhole(), "");
  options.updates_per_batch = 4;
  options.loss.kl_beta = 0.1;
  options.shaping.buffer_tokens = 3;
  EXPECT_TRUE(options.streams());
  options.estimator = Estimator::kReinforcePp;
  EXPECT_THAT(options.WhyWhole(), HasSubstr("REINFORCE_PP compares"));
  options.estimator = Estimator::kReinforcePpBaseline;
  EXPECT_THAT(options.WhyWhole(), HasSubstr("REINFORCE_PP_BASELINE divides"));
  options.estimator = Estimator::kRloo;
  EXPECT_TRUE(options.streams());
  options.shaping.kl_beta = 0.1;
  EXPECT_THAT(options.WhyWhole(), HasSubstr("IN_REWARD"));
  EXPECT_FALSE(options.streams());
}

}  // namespace
}  // namespace tactus
