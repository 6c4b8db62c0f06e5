// What the ranks divide among themselves, against whole copies on every rank: the same bits for the same number of
// ranks.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <malloc.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <mutex>

#include "common/config/run_config.h"
#include "common/model/folder/hf_folder.h"
#include "common/model/memory_need.h"
#include "learner/train/create_policy.h"
#include "learner/train/trainer.h"
#include "proto/config.pb.h"
#include "tests/learner/train/trainer_fixtures.h"
#include "tests/sanitized.h"
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

// Four groups are about 130 tokens: with kWholeShare every rank makes one pass a step, with kSeveralPasses more, and
// not all as many.
constexpr int64_t kWholeShare = 512, kSeveralPasses = 32;
constexpr Shard kDivided[] = {Shard::kOptimizer, Shard::kGradients, Shard::kParameters};

struct Case {
  Shard shard = Shard::kNone;
  StorageDType dtype = StorageDType::kFloat32;
  int64_t micro_batch_tokens = kWholeShare;
  double kl_beta = 0;
  int updates = 1;
  bool activation_checkpointing = false;
  size_t groups = 4;
};

std::unique_ptr<Trainer> MakeTrainer(Collective& collective, const Case& setup) {
  TrainerOptions options;
  options.micro_batch_tokens = setup.micro_batch_tokens;
  options.schedule.lr = 1e-3;
  options.optimizer.weight_decay = 0.1;
  options.optimizer.max_grad_norm = 0.5;
  options.loss.kl_beta = setup.kl_beta;
  options.updates_per_batch = setup.updates;
  PolicyOptions policy{.dtype = setup.dtype,
                       .trainable = {.activation_checkpointing = setup.activation_checkpointing},
                       .device = {},
                       .sharding = PlaceOf(collective, setup.shard),
                       .collective = &collective};
  const ModelFolder folder = Folder(setup.dtype);
  std::unique_ptr<TrainablePolicy> trained = *CreatePolicy(folder, policy), reference;
  policy.sharding.trains = false;
  if (setup.kl_beta > 0) reference = *CreatePolicy(folder, policy);
  return *Trainer::Create(options, std::move(trained), std::move(reference), collective);
}

std::vector<TrajectoryGroup> Groups(int step, size_t groups = 4) { return RandomGroups(100 + step, groups, 128, kNow); }

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
  void Add(Trainer& trainer, Collective& collective, const Case& setup) {
    const ParameterSnapshot state = *trainer.policy().state().ReadState();
    const std::vector<char> weights = *trainer.policy().state().ReadWeights(setup.dtype, collective);
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
    const bool gathered = setup.shard == Shard::kParameters && collective.size() > 1;  // by rank 0 alone
    if (gathered && collective.rank() != 0) {
      EXPECT_TRUE(weights.empty());
      return;
    }
    EXPECT_TRUE(whole_.weights.empty() || weights == whole_.weights) << "rank " << collective.rank();
    whole_.weights = weights;
  }
  Whole& whole() { return whole_; }

 private:
  std::mutex mutex_;
  Whole whole_;
};

// `steps` steps on `world` ranks, from `start` on where it is given.
Whole Train(int world, const Case& setup, int first, int steps, const Whole* start = nullptr) {
  Assembly assembly;
  OnRanks(world, [&](Collective& collective) {
    const auto trainer = MakeTrainer(collective, setup);
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
      const auto stats = trainer->TrainStep(Groups(step, setup.groups), kNow);
      ASSERT_TRUE(stats.ok()) << stats.status();
      norms.push_back(stats->grad_norm);
    }
    assembly.Add(*trainer, collective, setup);
    if (collective.rank() == 0) assembly.whole().norms = norms;
  });
  return std::move(assembly.whole());
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
  for (const int world : {1, 2, 4}) {
    const Whole expected = Train(world, {.shard = Shard::kNone, .dtype = GetParam()}, 0, 50);
    EXPECT_EQ(expected.largest_share, expected.parameters.size());
    for (const Shard shard : kDivided) {
      if (world == 1 && shard != Shard::kParameters) continue;  // one rank has nothing to divide
      const Whole sharded = Train(world, {.shard = shard, .dtype = GetParam()}, 0, 50);
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
      const auto trainer = MakeTrainer(collective, {.shard = shard});
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

TEST(ShardedStepTest, AGpuRefusesWhatItCannotDivide) {
  for (const Shard shard : {Shard::kGradients, Shard::kParameters}) {
    const PolicyOptions options{
        .trainable = {}, .device = Device{0}, .sharding = {.shard = shard, .rank = 0, .world = 2}};
    const absl::Status status = CreatePolicy(Folder(StorageDType::kFloat32), options).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status.message()), testing::HasSubstr(ShardName(shard)));
  }
}

TEST(ShardedStepTest, AGradientThatIsNotFiniteOnOneRankSkipsTheStepOnAll) {
  OnRanks(2, [&](Collective& collective) {
    const auto trainer = MakeTrainer(collective, {.shard = Shard::kOptimizer});
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
