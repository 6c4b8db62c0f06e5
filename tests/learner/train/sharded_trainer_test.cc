// What the ranks divide among themselves, against whole copies on every rank: the same bits for the same number of
// ranks.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <malloc.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <limits>

#include "common/config/run_config.h"
#include "common/model/folder/hf_folder.h"
#include "common/model/memory_need.h"
#include "learner/train/create_policy.h"
#include "proto/config.pb.h"
#include "tests/learner/train/sharded_training.h"
#include "tests/sanitized.h"

namespace tactus {
namespace {

std::unique_ptr<TrainablePolicy> CpuPolicy(const Case& setup, const Sharding& sharding, Collective& collective) {
  const PolicyOptions options{.dtype = setup.dtype,
                              .trainable = {.activation_checkpointing = setup.activation_checkpointing},
                              .device = {},
                              .sharding = sharding,
                              .collective = &collective};
  return *CreatePolicy(setup.folder(), options);
}

Whole Train(int world, const Case& setup, int first, int steps, const Whole* start = nullptr) {
  return Train(CpuPolicy, world, setup, first, steps, start);
}

double Distance(const std::vector<float>& a, const std::vector<float>& b) {
  double apart = 0, size = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    apart += (double{a[i]} - double{b[i]}) * (double{a[i]} - double{b[i]});
    size += double{b[i]} * double{b[i]};
  }
  return std::sqrt(apart / size);
}

class ShardedTrainerTest : public testing::TestWithParam<StorageDType> {};
INSTANTIATE_TEST_SUITE_P(DTypes, ShardedTrainerTest, testing::Values(StorageDType::kFloat32, StorageDType::kBFloat16),
                         [](const auto& dtype) {
                           return dtype.param == StorageDType::kFloat32 ? "float32" : "bfloat16";
                         });

TEST_P(ShardedTrainerTest, FiftyStepsHaveTheBitsOfNoSharding) {
  constexpr int64_t kBucket = 16384;  // fewer than elsewhere: what takes the time here is their messages
  const auto train = [](int world, Shard shard) {
    return Train(world, {.shard = shard, .dtype = GetParam(), .bucket_bytes = kBucket * 4}, 0, 50);
  };
  for (const int world : {1, 2, 4}) {
    const Whole expected = train(world, Shard::kNone);
    EXPECT_EQ(expected.largest_share, expected.parameters.size());
    for (const Shard shard : kDivided) {
      if (world == 1 && shard != Shard::kParameters) continue;  // one rank has nothing to divide
      const Whole sharded = train(world, shard);
      EXPECT_TRUE(sharded == expected) << world << " ranks, " << ShardName(shard);
      // A share is even but for the short bucket.
      EXPECT_GE(sharded.largest_share, expected.parameters.size() / static_cast<size_t>(world));
      EXPECT_LE(sharded.largest_share, expected.parameters.size() / static_cast<size_t>(world) + 4096);
    }
  }
}

// Divided gradients are summed over the ranks pass by pass: another order, which is one for both shardings that do so.
TEST_P(ShardedTrainerTest, WithSeveralPassesAStepSumsDifferInTheLastPlaceAlone) {
  for (const int world : {2, 4}) {
    const auto train = [&](Shard shard, int steps) {
      return Train(world, {.shard = shard, .dtype = GetParam(), .micro_batch_tokens = kSeveralPasses, .groups = 8}, 0,
                   steps);
    };
    const Whole once = train(Shard::kNone, 1), divided = train(Shard::kGradients, 1);
    EXPECT_NEAR(divided.norms[0], once.norms[0], 1e-6 * once.norms[0]);
    EXPECT_LE(Distance(divided.first, once.first), 1e-6) << "the gradient, scaled";
    EXPECT_GT(Distance(divided.first, once.first), 0) << "is there only one pass?";
    const Whole whole = train(Shard::kNone, 5), gradients = train(Shard::kGradients, 5);
    EXPECT_TRUE(train(Shard::kOptimizer, 5) == whole);
    EXPECT_TRUE(train(Shard::kParameters, 5) == gradients);
    // In bfloat16 a weight that is rounded the other way changes the next gradients by more than a sum's last place.
    EXPECT_LE(Distance(gradients.parameters, whole.parameters), GetParam() == StorageDType::kFloat32 ? 1e-5 : 1e-4);
  }
}

// A reference, several updates, layers that are computed again; and ranks for which no sequence is left.
TEST_P(ShardedTrainerTest, EveryKindOfPassHasTheBitsOfNoSharding) {
  Case setup{.dtype = GetParam(), .kl_beta = 0.1, .updates = 2, .activation_checkpointing = true};
  for (const size_t groups : {4, 2}) {
    setup.groups = groups;
    setup.shard = Shard::kNone;
    const Whole expected = Train(4, setup, 0, 3);
    for (const Shard shard : kDivided) {
      setup.shard = shard;
      EXPECT_TRUE(Train(4, setup, 0, 3) == expected) << groups << " groups, " << ShardName(shard);
    }
  }
}

TEST_P(ShardedTrainerTest, StateGoesOnUnderAnySharding) {
  const auto with = [](Shard shard) { return Case{.shard = shard, .dtype = GetParam()}; };
  const Whole whole = Train(2, with(Shard::kOptimizer), 0, 6);
  for (const Shard before : {Shard::kOptimizer, Shard::kParameters}) {
    const Whole half = Train(2, with(before), 0, 3);
    const Whole by_three = Train(3, with(Shard::kNone), 3, 3, &half);  // sums of three ranks have bits of their own
    for (const Shard shard : {Shard::kNone, Shard::kOptimizer, Shard::kGradients, Shard::kParameters}) {
      Whole resumed = Train(2, with(shard), 3, 3, &half);
      resumed.norms.insert(resumed.norms.begin(), half.norms.begin(), half.norms.end());
      EXPECT_TRUE(resumed == whole) << ShardName(before) << " then " << ShardName(shard);
      if (shard == Shard::kNone) continue;
      EXPECT_TRUE(Train(3, with(shard), 3, 3, &half) == by_three) << ShardName(before) << " then " << ShardName(shard);
    }
  }
}

// Passes go through to their end, with numbers of no use, and say so.
TEST(ShardedStepTest, ARankThatIsGoneEndsThePassesOfTheOthers) {
  for (const Shard shard : {Shard::kGradients, Shard::kParameters}) {
    OnRanks(2, [&](Collective& collective) {
      const auto trainer = MakeTrainer(CpuPolicy, collective, {.shard = shard});
      ASSERT_TRUE(trainer->TrainStep(Groups(0), kNow).ok());
      if (collective.rank() == 1) return;
      const absl::Status status = trainer->TrainStep(Groups(1), kNow).status();
      EXPECT_TRUE(absl::IsUnavailable(status)) << status;
    });
  }
}

int64_t ResidentBytes() {
  std::ifstream file("/proc/self/statm");
  int64_t total = 0, resident = 0;
  file >> total >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

// 24 layers of 262,000 parameters and a small vocabulary, with fresh weights.
ModelFolder DeepFolder() {
  ModelConfig model = Folder(StorageDType::kFloat32).config;
  model.num_layers = 24;
  model.hidden_size = 128;
  model.intermediate_size = 512;
  model.num_heads = 4;
  model.num_kv_heads = 4;
  model.head_dim = 32;
  ModelFolder folder;
  folder.path = testing::TempDir() + "/no_weights_here";
  folder.layout = MakeParameterLayout(model);
  folder.config = std::move(model);
  return folder;
}

// What stays between two passes: a pass's own memory comes and goes.
int64_t AtRest(const MemoryNeed& need) {
  int64_t bytes = 0;
  for (const MemoryItem& item : need.items) {
    const std::string name = item.name;
    if (name == "weights" || name == "weights, backward" || name == "master weights" || name == "gradients" ||
        name == "moments") {
      bytes += item.bytes;
    }
  }
  return bytes;
}

// Of all ranks together after a step, by the resident size of the process that they share here.
TEST(ShardedMemoryTest, ARankTakesWhatIsPredicted) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer keeps memory of its own for each byte";
  const ModelFolder folder = DeepFolder();
  const config::RunConfig run = *config::ParseRunConfig(
      R"(model { path: "m" dtype: FLOAT32 } task { name: "countdown" } service { plaintext: true })", "t", {});
  ::mallopt(M_MMAP_THRESHOLD, 1 << 17);  // what is freed goes at once
  for (const int world : {1, 2, 4}) {
    for (const Shard shard : {Shard::kNone, Shard::kOptimizer, Shard::kGradients, Shard::kParameters}) {
      if (world == 1 && shard != Shard::kNone) continue;  // the same
      ::malloc_trim(0);
      const int64_t before = ResidentBytes();
      int64_t after = 0, predicted = 0;
      OnRanks(world, [&](Collective& collective) {
        PolicyOptions options{
            .trainable = {}, .device = {}, .sharding = PlaceOf(collective, shard), .collective = &collective};
        options.sharding.bucket_bytes = 1 << 20;
        const auto trainer = *Trainer::Create(TrainerOptions(), *CreatePolicy(folder, options), nullptr, collective);
        const std::vector<SftExample> one_each(static_cast<size_t>(world), SftExample{{1, 2}, {3, 4}});
        ASSERT_TRUE(trainer->SftStep(one_each).ok());
        ASSERT_TRUE(collective.Barrier().ok());
        if (collective.rank() == 0) {
          ::malloc_trim(0);
          after = ResidentBytes();
          predicted = world * AtRest(LearnerMemory("", folder.config, run, Device{}, options.sharding));
        }
        ASSERT_TRUE(collective.Barrier().ok());
      });
      const double ratio = static_cast<double>(after - before) / static_cast<double>(predicted);
      std::printf("%d ranks, %s: %.1f MiB a rank, %.2f of what is predicted\n", world, ShardName(shard),
                  static_cast<double>(after - before) / world / (1 << 20), ratio);
      EXPECT_NEAR(ratio, 1, 0.1) << world << " ranks, " << ShardName(shard);
    }
  }
}

TEST(ShardedStepTest, AGradientThatIsNotFiniteOnOneRankSkipsTheStepOnAll) {
  OnRanks(2, [&](Collective& collective) {
    const auto trainer = MakeTrainer(CpuPolicy, collective, {.shard = Shard::kOptimizer});
    ASSERT_TRUE(trainer->TrainStep(Groups(0), kNow).ok());
    const ParameterSnapshot state = *trainer->policy().state().ReadState();
    std::vector<float> parameters(state.parameters.begin(), state.parameters.end());
    const std::vector<float> first(state.first_moment.begin(), state.first_moment.end());
    const std::vector<float> second(state.second_moment.begin(), state.second_moment.end());
    if (collective.rank() == 1) parameters[5] = std::numeric_limits<float>::quiet_NaN();
    ASSERT_TRUE(trainer->Restore({parameters, first, second}, trainer->counts()).ok());
    const auto stats = trainer->TrainStep(Groups(1), kNow);
    ASSERT_TRUE(stats.ok()) << stats.status();
    EXPECT_EQ(stats->skipped_updates, 1);
    const ParameterSnapshot after = *trainer->policy().state().ReadState();
    EXPECT_TRUE(std::ranges::equal(after.second_moment, second));
    EXPECT_EQ(trainer->Restore({std::span(parameters).first(16), {}, {}}, {}).code(),
              absl::StatusCode::kInvalidArgument);
  });
}

}  // namespace
}  // namespace tactus
