// A sharded optimizer against whole ones on every rank: the same bits for the same number of ranks.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <limits>
#include <mutex>

#include "common/config/run_config.h"
#include "common/model/folder/hf_folder.h"
#include "common/model/memory_need.h"
#include "learner/train/lm_policy_cpu.h"
#include "learner/train/trainer.h"
#include "proto/config.pb.h"
#include "tests/learner/train/trainer_fixtures.h"
#include "tests/tree.h"

namespace tactus {
namespace {

constexpr PolicyVersion kNow{0, 0};

ModelFolder Folder(StorageDType dtype) {
  const char* const name = dtype == StorageDType::kFloat32 ? "qwen3" : "qwen3_bf16";
  return *OpenModelFolder(SourcePath("tests/goldens/models/") + name);
}

// Buckets of 4096 floats: the tiny model has many of them, the last of them short.
Sharding PlaceOf(const Collective& collective, Shard shard) {
  return {.shard = shard, .rank = collective.rank(), .world = collective.size(), .bucket_bytes = 4096 * 4};
}

std::unique_ptr<Trainer> MakeTrainer(Collective& collective, Shard shard, StorageDType dtype) {
  TrainerOptions options;
  options.micro_batch_tokens = 96;
  options.schedule.lr = 1e-3;
  options.optimizer.weight_decay = 0.1;
  options.optimizer.max_grad_norm = 0.5;
  auto policy = MakeLmPolicyCpu(*DecoderWeightsCpu::FromFolder(Folder(dtype), dtype), {}, PlaceOf(collective, shard));
  return *Trainer::Create(options, std::move(policy), nullptr, collective);
}

std::vector<TrajectoryGroup> Groups(int step) { return RandomGroups(100 + step, 4, 128, kNow); }

// Masters and moments of all ranks put together, and what rank 0 publishes.
struct Whole {
  std::vector<float> parameters, first, second;
  std::vector<char> weights;
  std::vector<double> norms;  // by step
  size_t largest_share = 0;
  bool operator==(const Whole& o) const {
    return parameters == o.parameters && first == o.first && second == o.second && weights == o.weights &&
           norms == o.norms;
  }
};

class Assembly {
 public:
  void Add(Trainer& trainer, int rank, StorageDType dtype) {
    const ParameterSnapshot state = *trainer.policy().state().ReadState();
    const std::lock_guard lock(mutex_);
    for (std::vector<float>* whole : {&whole_.parameters, &whole_.first, &whole_.second}) {
      whole->resize(static_cast<size_t>(trainer.policy().layout().total_numel));
    }
    int64_t place = 0;
    for (const FlatRange& range : trainer.policy().state().share()) {
      std::copy_n(state.parameters.begin() + place, range.size(), whole_.parameters.begin() + range.begin);
      std::copy_n(state.first_moment.begin() + place, range.size(), whole_.first.begin() + range.begin);
      std::copy_n(state.second_moment.begin() + place, range.size(), whole_.second.begin() + range.begin);
      place += range.size();
    }
    EXPECT_EQ(static_cast<size_t>(place), state.second_moment.size());
    whole_.largest_share = std::max(whole_.largest_share, state.second_moment.size());
    const std::vector<char> weights = *trainer.policy().state().ReadWeights(dtype);
    EXPECT_TRUE(whole_.weights.empty() || weights == whole_.weights) << "rank " << rank;
    whole_.weights = weights;
  }
  Whole& whole() { return whole_; }

 private:
  std::mutex mutex_;
  Whole whole_;
};

// `steps` steps on `world` ranks, from `start` on where it is given.
Whole Train(int world, Shard shard, StorageDType dtype, int first, int steps, const Whole* start = nullptr) {
  Assembly assembly;
  OnRanks(world, [&](Collective& collective) {
    const auto trainer = MakeTrainer(collective, shard, dtype);
    if (start != nullptr) {
      std::vector<float> parts[3];
      const std::vector<float>* const wholes[] = {&start->parameters, &start->first, &start->second};
      for (size_t i = 0; i < 3; ++i) {
        for (const FlatRange& range : trainer->policy().state().share()) {
          parts[i].insert(parts[i].end(), wholes[i]->begin() + range.begin, wholes[i]->begin() + range.end);
        }
      }
      ASSERT_TRUE(trainer->Restore({parts[0], parts[1], parts[2]}, {.taken = first}).ok());
    }
    std::vector<double> norms;
    for (int step = first; step < first + steps; ++step) {
      const auto stats = trainer->TrainStep(Groups(step), kNow);
      ASSERT_TRUE(stats.ok()) << stats.status();
      norms.push_back(stats->grad_norm);
    }
    assembly.Add(*trainer, collective.rank(), dtype);
    if (collective.rank() == 0) assembly.whole().norms = norms;
  });
  return std::move(assembly.whole());
}

class ShardedTrainerTest : public testing::TestWithParam<StorageDType> {};
INSTANTIATE_TEST_SUITE_P(DTypes, ShardedTrainerTest, testing::Values(StorageDType::kFloat32, StorageDType::kBFloat16),
                         [](const auto& dtype) {
                           return dtype.param == StorageDType::kFloat32 ? "float32" : "bfloat16";
                         });

TEST_P(ShardedTrainerTest, FiftyStepsHaveTheBitsOfNoSharding) {
  for (const int world : {1, 2, 4}) {
    const Whole expected = Train(world, Shard::kNone, GetParam(), 0, 50);
    const Whole sharded = Train(world, Shard::kOptimizer, GetParam(), 0, 50);
    EXPECT_TRUE(sharded == expected) << world << " ranks";
    // A share is even but for the short bucket.
    EXPECT_EQ(expected.largest_share, expected.parameters.size());
    EXPECT_GE(sharded.largest_share, expected.parameters.size() / static_cast<size_t>(world));
    EXPECT_LE(sharded.largest_share, expected.parameters.size() / static_cast<size_t>(world) + 4096);
  }
}

TEST_P(ShardedTrainerTest, StateGoesOnUnderAnySharding) {
  const Whole whole = Train(2, Shard::kOptimizer, GetParam(), 0, 6);
  const Whole half = Train(2, Shard::kOptimizer, GetParam(), 0, 3);
  for (const Shard shard : {Shard::kNone, Shard::kOptimizer}) {
    Whole resumed = Train(2, shard, GetParam(), 3, 3, &half);
    resumed.norms.insert(resumed.norms.begin(), half.norms.begin(), half.norms.end());
    EXPECT_TRUE(resumed == whole) << static_cast<int>(shard);
  }
  // And at another number of ranks, whose sums have bits of their own.
  EXPECT_TRUE(Train(3, Shard::kOptimizer, GetParam(), 3, 3, &half) == Train(3, Shard::kNone, GetParam(), 3, 3, &half));
}

int64_t ResidentBytes() {
  std::ifstream file("/proc/self/statm");
  int64_t total = 0, resident = 0;
  file >> total >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

// What the predictor says of moments, against what the process has more once they are there.
TEST(ShardedMemoryTest, MomentsTakeWhatIsPredicted) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer keeps memory of its own for each byte";
#endif
  ModelConfig model = Folder(StorageDType::kFloat32).config;
  model.vocab_size = 200'000;  // 20 million parameters
  model.hidden_size = 96;
  const ParameterLayout layout = MakeParameterLayout(model);
  ASSERT_GT(layout.total_numel, 19'000'000);
  const config::RunConfig run = *config::ParseRunConfig(
      R"(model { path: "m" dtype: FLOAT32 } task { name: "countdown" } service { plaintext: true })", "t", {});
  for (const int world : {1, 2, 4}) {
    const Sharding sharding{.shard = Shard::kOptimizer, .rank = world - 1, .world = world};
    const std::vector<FlatRange> share = ShareOf(CutBuckets(layout.total_numel, sharding), sharding);
    const int64_t before = ResidentBytes();
    AdamW optimizer(layout, share);
    const int64_t measured = ResidentBytes() - before;
    int64_t predicted = 0;
    for (const MemoryItem& item : LearnerMemory("", model, run, Device{}, sharding).items) {
      if (std::string(item.name) == "moments") predicted = item.bytes;
    }
    EXPECT_GT(predicted, 0);
    EXPECT_NEAR(static_cast<double>(measured) / static_cast<double>(predicted), 1, 0.1) << world << " ranks";
  }
}

TEST(ShardedStepTest, AGradientThatIsNotFiniteOnOneRankSkipsTheStepOnAll) {
  OnRanks(2, [&](Collective& collective) {
    const auto trainer = MakeTrainer(collective, Shard::kOptimizer, StorageDType::kFloat32);
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
