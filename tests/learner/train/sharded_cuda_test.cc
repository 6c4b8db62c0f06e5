// What ranks divide among themselves in the memory of their GPUs, against a divided optimizer, whose gradients are
// added up in the same order: the same bits. Ranks are threads of one process, each with its own "GPU", over Gloo; so
// in the emulation alone.
#include <gtest/gtest.h>

#ifdef TACTUS_CUDA_EMULATED
#include <numeric>
#include <random>

#include "common/config/run_config.h"
#include "common/device/emulator_cuda.h"
#include "common/model/memory_need.h"
#include "learner/train/create_policy.h"
#include "learner/train/lm_policy_cuda.h"
#include "proto/config.pb.h"
#include "tests/learner/train/sharded_training.h"

namespace tactus {
namespace {

PolicyMaker GpuPolicyOf(int64_t most_rows) {
  return [most_rows](const Case& setup, const Sharding& sharding, Collective& collective) {
    const ModelFolder folder = setup.folder();
    std::vector<float> parameters(static_cast<size_t>(folder.layout.total_numel));
    EXPECT_TRUE(FillParameters(folder, /*seed=*/1, parameters).ok());
    const TrainableOptions options{.activation_checkpointing = setup.activation_checkpointing, .most_rows = most_rows};
    return *MakeLmPolicyCuda(folder.config, setup.dtype, parameters, options, collective.rank(), sharding, &collective);
  };
}
const PolicyMaker GpuPolicy = GpuPolicyOf(/*most_rows=*/0);

// A short group, and then for each rank such that fill `rows`.
std::vector<TrajectoryGroup> FullGroups(int world, int64_t rows) {
  std::mt19937 random(7);
  std::vector<TrajectoryGroup> groups = {RandomGroup(random, 0, 128, 4, kNow)};
  const int64_t answers = std::max<int64_t>(1, (rows - 20) / 40);
  for (int rank = 0; rank < world; ++rank) {
    TrajectoryGroup group =
        RandomGroup(random, static_cast<uint64_t>(rank) + 1, 128, static_cast<size_t>(answers), kNow);
    group.prompt_token_ids.assign(20, 3);
    for (Completion& completion : group.completions) {
      for (auto* values : {&completion.logprobs, &completion.entropy, &completion.credit}) values->assign(40, 1.0f);
      completion.logprobs.assign(40, -0.5f);
      completion.token_ids.assign(40, 5);
    }
    groups.push_back(std::move(group));
  }
  return groups;
}

Whole TrainOnGpus(int world, Case setup, Shard shard, int first, int steps, const Whole* start = nullptr) {
  setup.shard = shard;
  return Train(GpuPolicy, world, setup, first, steps, start);
}

// Buckets smaller than a layer, of about a layer, and larger than the model; a head that is the embedding, and one of
// its own; biases; norms behind the branches.
TEST(ShardedFamiliesOnGpusTest, EverySizeOfBucketHasTheBitsOfADividedOptimizer) {
  constexpr int64_t kSmall = 1024, kLayer = 9000, kAll = 1 << 20;  // floats
  for (const auto& [model, bucket_floats] : {std::pair("qwen3", kSmall),
                                             {"qwen3", kLayer},
                                             {"qwen2", kSmall},
                                             {"qwen2", kAll},
                                             {"olmo2", kLayer},
                                             {"llama_tied_sharded", kAll}}) {
    const Case setup{.model = model, .bucket_bytes = bucket_floats * 4, .layers = 5};
    const Whole expected = TrainOnGpus(2, setup, Shard::kOptimizer, 0, 2);
    for (const Shard shard : {Shard::kGradients, Shard::kParameters}) {
      EXPECT_TRUE(TrainOnGpus(2, setup, shard, 0, 2) == expected)
          << model << ", buckets of " << bucket_floats << ", " << ShardName(shard);
    }
  }
}

class ShardedOnGpusTest : public testing::TestWithParam<StorageDType> {};
INSTANTIATE_TEST_SUITE_P(DTypes, ShardedOnGpusTest, testing::Values(StorageDType::kFloat32, StorageDType::kBFloat16),
                         [](const auto& dtype) {
                           return dtype.param == StorageDType::kFloat32 ? "float32" : "bfloat16";
                         });

TEST_P(ShardedOnGpusTest, StepsHaveTheBitsOfADividedOptimizer) {
  for (const int world : {2, 3}) {
    const Case setup{.dtype = GetParam()};
    const Whole expected = TrainOnGpus(world, setup, Shard::kOptimizer, 0, 4);
    for (const Shard shard : {Shard::kGradients, Shard::kParameters}) {
      const Whole divided = TrainOnGpus(world, setup, shard, 0, 4);
      EXPECT_TRUE(divided == expected) << world << " ranks, " << ShardName(shard);
      EXPECT_LE(divided.largest_share, expected.parameters.size() / static_cast<size_t>(world) + 4096);
    }
  }
}

// A reference, several updates, layers that are computed again; and ranks for which no sequence is left.
TEST_P(ShardedOnGpusTest, EveryKindOfPassHasTheBitsOfADividedOptimizer) {
  Case setup{.dtype = GetParam(), .kl_beta = 0.1, .updates = 2, .activation_checkpointing = true};
  for (const size_t groups : {4, 2}) {
    setup.groups = groups;
    const Whole expected = TrainOnGpus(4, setup, Shard::kOptimizer, 0, 2);
    for (const Shard shard : {Shard::kGradients, Shard::kParameters}) {
      EXPECT_TRUE(TrainOnGpus(4, setup, shard, 0, 2) == expected) << groups << " groups, " << ShardName(shard);
    }
  }
}

// Sums over the ranks come first then, pass by pass: another order, the same for both.
TEST_P(ShardedOnGpusTest, WithSeveralPassesBothHaveTheSameBits) {
  const Case setup{.dtype = GetParam(), .micro_batch_tokens = kSeveralPasses, .groups = 8};
  const Whole gradients = TrainOnGpus(2, setup, Shard::kGradients, 0, 3);
  EXPECT_TRUE(TrainOnGpus(2, setup, Shard::kParameters, 0, 3) == gradients);
  const Whole optimizer = TrainOnGpus(2, setup, Shard::kOptimizer, 0, 1),
              once = TrainOnGpus(2, setup, Shard::kGradients, 0, 1);
  EXPECT_NEAR(once.norms[0], optimizer.norms[0], 1e-6 * optimizer.norms[0]);
  EXPECT_FALSE(once == optimizer) << "is there only one pass?";
}

TEST_P(ShardedOnGpusTest, StateGoesOnUnderAnySharding) {
  const Case setup{.dtype = GetParam()};
  const Whole whole = TrainOnGpus(2, setup, Shard::kOptimizer, 0, 4);
  for (const Shard before : {Shard::kOptimizer, Shard::kParameters}) {
    const Whole half = TrainOnGpus(2, setup, before, 0, 2);
    for (const Shard shard : {Shard::kOptimizer, Shard::kGradients, Shard::kParameters}) {
      Whole resumed = TrainOnGpus(2, setup, shard, 2, 2, &half);
      resumed.norms.insert(resumed.norms.begin(), half.norms.begin(), half.norms.end());
      EXPECT_TRUE(resumed == whole) << ShardName(before) << " then " << ShardName(shard);
    }
  }
}

// Passes go through to their end, with numbers of no use, and say so.
TEST(ShardedFailureOnGpusTest, ARankThatIsGoneEndsThePassesOfTheOthers) {
  for (const Shard shard : {Shard::kGradients, Shard::kParameters}) {
    OnRanks(2, [&](Collective& collective) {
      const auto trainer = MakeTrainer(GpuPolicy, collective, {.shard = shard});
      ASSERT_TRUE(trainer->TrainStep(Groups(0), kNow).ok());
      if (collective.rank() == 1) return;
      const absl::Status status = trainer->TrainStep(Groups(1), kNow).status();
      EXPECT_TRUE(absl::IsUnavailable(status)) << status;
    });
  }
}

TEST(ShardedFailureOnGpusTest, OnlyWholeWeightsAreSharedForTheMachine) {
  OnRanks(2, [&](Collective& collective) {
    for (const Shard shard : {Shard::kGradients, Shard::kParameters}) {
      const auto policy = GpuPolicy({}, PlaceOf(collective, shard), collective);
      const auto shared = policy->state().Share({0, 3});
      ASSERT_TRUE(shared.ok()) << shared.status();
      EXPECT_EQ(shared->has_value(), shard == Shard::kGradients);
    }
  });
}

// What ranks take of their GPUs, each at its most, by the emulation's account, against what is predicted before it
// is made: a model of 4 layers whose vocabulary is small, and one step of full micro-batches. The prediction has the
// room by which attention's buffers may grow, and FlashAttention's copies, which the emulation does not make.
class LearnerOnGpusMemoryTest : public testing::TestWithParam<std::vector<std::string>> {};
INSTANTIATE_TEST_SUITE_P(Configurations, LearnerOnGpusMemoryTest,
                         testing::Values(std::vector<std::string>{},
                                         std::vector<std::string>{"learner.activation_checkpointing=true"},
                                         std::vector<std::string>{"algorithm.kl_beta=0.1"}));

TEST_P(LearnerOnGpusMemoryTest, IsNoMoreThanPredictedAndLittleLess) {
  const config::RunConfig run =
      config::ParseRunConfig(
          R"(model { path: "m" dtype: BFLOAT16 } task { name: "countdown" } service { plaintext: true }
         rollout { max_prompt_tokens: 20 max_completion_tokens: 40 prompts_per_step: 100 }
         learner { micro_batch_tokens: 340 })",
          "t", GetParam())
          .value();
  const int64_t rows = MicroBatchRows(run);
  const Case setup{.dtype = StorageDType::kBFloat16,
                   .micro_batch_tokens = rows,
                   .kl_beta = run.algorithm().kl_beta(),
                   .activation_checkpointing = run.learner().activation_checkpointing(),
                   .bucket_bytes = 1 << 14,
                   .layers = 4};
  const ModelFolder folder = setup.folder();
  for (const int world : {1, 2}) {
    for (const Shard shard : {Shard::kNone, Shard::kOptimizer, Shard::kGradients, Shard::kParameters}) {
      if (world == 1 && shard != Shard::kNone) continue;
      Case divided = setup;
      divided.shard = shard;
      int64_t predicted = 0;
      std::vector<int64_t> taken(static_cast<size_t>(world));
      OnRanks(world, [&](Collective& collective) {
        const int gpu = collective.rank();
        const int64_t before = device::emulated::TakenBytes(gpu).now;
        device::emulated::ResetPeak(gpu);
        const auto trainer = MakeTrainer(GpuPolicyOf(rows), collective, divided);
        // Answers of 40 tokens to 20: as many rows as there may be on each rank, and a smaller micro-batch before.
        const auto stats = trainer->TrainStep(FullGroups(world, rows), kNow);
        ASSERT_TRUE(stats.ok()) << stats.status();
        taken[static_cast<size_t>(gpu)] = device::emulated::TakenBytes(gpu).peak - before;
        if (gpu != 0) return;
        Sharding place = PlaceOf(collective, shard);
        place.bucket_bytes = setup.bucket_bytes;
        predicted = world * (LearnerMemory("", folder.config, run, Device{0}, place).total() - kGpuContextBytes);
      });
      const double ratio =
          static_cast<double>(std::accumulate(taken.begin(), taken.end(), int64_t{0})) / static_cast<double>(predicted);
      EXPECT_LE(ratio, 1) << world << " ranks, " << ShardName(shard);
      EXPECT_GE(ratio, 0.85) << world << " ranks, " << ShardName(shard);
    }
  }
}

}  // namespace
}  // namespace tactus
#endif
