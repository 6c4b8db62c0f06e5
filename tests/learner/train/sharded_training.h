// Training on several ranks with what they divide among themselves, put together again so that it can be compared: on
// the CPU, and on a GPU's emulation.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "common/model/folder/hf_folder.h"
#include "common/model/shard.h"
#include "learner/train/trainer.h"
#include "tests/learner/train/trainer_fixtures.h"
#include "tests/tree.h"

namespace tactus {

inline constexpr PolicyVersion kNow{0, 0};

inline ModelFolder Folder(const std::string& name) {
  return *OpenModelFolder(SourcePath("tests/goldens/models/") + name);
}
inline ModelFolder Folder(StorageDType dtype) {
  return Folder(dtype == StorageDType::kFloat32 ? "qwen3" : "qwen3_bf16");
}

// Buckets of 4096 floats: the tiny model has many of them, the last of them short.
inline Sharding PlaceOf(const Collective& collective, Shard shard) {
  return {.shard = shard, .rank = collective.rank(), .world = collective.size(), .bucket_bytes = int64_t{4096} * 4};
}

// Four groups are about 130 tokens: with kWholeShare every rank makes one pass a step, with kSeveralPasses more, and
// not all as many.
inline constexpr int64_t kWholeShare = 512, kSeveralPasses = 32;
inline constexpr Shard kDivided[] = {Shard::kOptimizer, Shard::kGradients, Shard::kParameters};

struct Case {
  Shard shard = Shard::kNone;
  StorageDType dtype = StorageDType::kFloat32;
  int64_t micro_batch_tokens = kWholeShare;
  double kl_beta = 0;
  int updates = 1;
  bool activation_checkpointing = false;
  size_t groups = 4;
  std::string model = {};  // of the goldens; none: the dtype's
  int64_t bucket_bytes = int64_t{4096} * 4;
  int64_t layers = 0;  // of a model of that shape with fresh weights; 0: the golden as it is

  ModelFolder folder() const {
    ModelFolder folder = model.empty() ? Folder(dtype) : Folder(model);
    if (layers == 0) return folder;
    folder.path = testing::TempDir() + "/no_weights_here";
    folder.config.num_layers = layers;
    folder.layout = MakeParameterLayout(folder.config);
    return folder;
  }
};

// The sharding says whether it is the policy's or the reference's.
using PolicyMaker = std::function<std::unique_ptr<TrainablePolicy>(const Case& setup, const Sharding& sharding,
                                                                   Collective& collective)>;

inline std::unique_ptr<Trainer> MakeTrainer(const PolicyMaker& make, Collective& collective, const Case& setup) {
  TrainerOptions options;
  options.micro_batch_tokens = setup.micro_batch_tokens;
  options.schedule.lr = 1e-3;
  options.optimizer.weight_decay = 0.1;
  options.optimizer.max_grad_norm = 0.5;
  options.loss.kl_beta = setup.kl_beta;
  options.updates_per_batch = setup.updates;
  Sharding sharding = PlaceOf(collective, setup.shard);
  sharding.bucket_bytes = setup.bucket_bytes;
  std::unique_ptr<TrainablePolicy> trained = make(setup, sharding, collective), reference;
  sharding.trains = false;
  if (setup.kl_beta > 0) reference = make(setup, sharding, collective);
  return *Trainer::Create(options, std::move(trained), std::move(reference), collective);
}

inline std::vector<TrajectoryGroup> Groups(int step, size_t groups = 4) {
  return RandomGroups(100 + step, groups, 128, kNow);
}

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
inline Whole Train(const PolicyMaker& make, int world, const Case& setup, int first, int steps,
                   const Whole* start = nullptr) {
  Assembly assembly;
  OnRanks(world, [&](Collective& collective) {
    const auto trainer = MakeTrainer(make, collective, setup);
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

}  // namespace tactus
