// The Trainer on a policy in GPU memory against the same on the CPU, and that policy's state. On a GPU in the preset
// `cuda`, emulated elsewhere.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/model/folder/hf_folder.h"
#include "common/ops/cuda/adamw_cuda.h"
#include "common/weights/weight_publisher.h"
#include "learner/train/lm_policy_cpu.h"
#include "learner/train/lm_policy_cuda.h"
#include "learner/train/parameters_cuda.h"
#include "learner/train/trainer.h"
#include "tests/device/need_gpu.h"
#include "tests/learner/train/trainer_fixtures.h"
#include "tests/model/golden_models.h"
#include "tests/ops/cuda/device_array.h"
#include "tests/tree.h"

namespace tactus {
namespace {

constexpr PolicyVersion kNow{0, 0};
constexpr int64_t kVocab = 144;          // no model in float32 has fewer
constexpr int64_t kBFloat16Vocab = 128;  // nor any at all

ModelFolder Folder(const std::string& name) {
  const auto folder = OpenModelFolder(SourcePath("tests/goldens/models/") + name);
  EXPECT_TRUE(folder.ok()) << folder.status();
  return *folder;
}

std::vector<float> Parameters(const ModelFolder& folder) {
  std::vector<float> parameters(static_cast<size_t>(folder.layout.total_numel));
  EXPECT_TRUE(LoadParameters(folder, parameters).ok());
  return parameters;
}

std::unique_ptr<TrainablePolicy> HostPolicy(const ModelFolder& folder, StorageDType dtype) {
  return MakeLmPolicyCpu(*DecoderWeightsCpu::FromFolder(folder, dtype), {});
}

std::unique_ptr<TrainablePolicy> CudaPolicy(const ModelFolder& folder, StorageDType dtype,
                                            const TrainableOptions& options = {}) {
  auto policy = MakeLmPolicyCuda(folder.config, dtype, Parameters(folder), options, 0);
  EXPECT_TRUE(policy.ok()) << policy.status();
  return *std::move(policy);
}

std::unique_ptr<Collective> Alone() {
#ifdef TACTUS_CUDA_EMULATED
  return *CreateCollective({});
#else
  return *CreateCollective({.device = "cuda:0"});
#endif
}

TrainerOptions Options() {
  TrainerOptions options;
  options.micro_batch_tokens = 48;
  options.schedule.lr = 1e-3;
  options.optimizer.weight_decay = 0.1;
  options.loss.tis_cap = 2;
  options.loss.kl_beta = 0.05;
  return options;
}

using PolicyMaker = std::function<std::unique_ptr<TrainablePolicy>()>;

// `make_reference`: of the KL term's policy; none: made like the other.
std::unique_ptr<Trainer> MakeTrainer(const TrainerOptions& options, const PolicyMaker& make, Collective& collective,
                                     const PolicyMaker& make_reference = nullptr) {
  const PolicyMaker& reference = make_reference ? make_reference : make;
  auto trainer = Trainer::Create(options, make(), options.loss.kl_beta > 0 ? reference() : nullptr, collective);
  EXPECT_TRUE(trainer.ok()) << trainer.status();
  return *std::move(trainer);
}

std::vector<TrajectoryGroup> Groups(int step, int64_t vocab = kVocab) {
  return RandomGroups(300 + step, 4, vocab, kNow);
}

std::vector<float> Copy(std::span<const float> values) { return {values.begin(), values.end()}; }

double RelativeDistance(const std::vector<float>& a, const std::vector<float>& b, const std::vector<float>& from) {
  double difference = 0, moved = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += std::pow(double{a[i]} - b[i], 2);
    moved += std::pow(double{b[i]} - from[i], 2);
  }
  return std::sqrt(difference / moved);
}

class CudaTrainerTest : public testing::Test {
 protected:
  void SetUp() override { NEED_GPU(); }
};

TEST_F(CudaTrainerTest, StepsFollowTheCpus) {
  const auto collective = Alone();
  for (const std::string& name : FamilyModels()) {
    const ModelFolder folder = Folder(name);
    TrainerOptions options = Options();
    options.updates_per_batch = 2;
    const auto host = MakeTrainer(
        options, [&] { return HostPolicy(folder, StorageDType::kFloat32); }, *collective);
    const auto gpu = MakeTrainer(
        options, [&] { return CudaPolicy(folder, StorageDType::kFloat32); }, *collective);
    for (int step = 0; step < 3; ++step) {
      const auto expected = host->TrainStep(Groups(step), kNow), actual = gpu->TrainStep(Groups(step), kNow);
      ASSERT_TRUE(expected.ok() && actual.ok()) << actual.status();
      EXPECT_NEAR(actual->loss, expected->loss, 1e-4 * std::abs(expected->loss) + 1e-6) << name << step;
      EXPECT_NEAR(actual->grad_norm, expected->grad_norm, 1e-4 * expected->grad_norm) << name << step;
      EXPECT_NEAR(actual->mismatch_mean, expected->mismatch_mean, 1e-4) << name << step;
      EXPECT_NEAR(actual->kl_k3, expected->kl_k3, 1e-4) << name << step;
      EXPECT_EQ(actual->completion_tokens, expected->completion_tokens);
    }
    EXPECT_EQ(gpu->counts().taken, 6);
    const auto a = Copy(gpu->policy().state().ReadState()->parameters);
    const auto b = Copy(host->policy().state().ReadState()->parameters);
    // Adam's step is about the gradient's sign, so the smallest gradients' rounding shows.
    EXPECT_LT(RelativeDistance(a, b, Parameters(folder)), 0.02) << name;
  }
}

TEST_F(CudaTrainerTest, Bfloat16PolicyLearnsWithFloat32Masters) {
  const auto collective = Alone();
  const ModelFolder folder = Folder("qwen3_bf16");
  TrainerOptions options = Options();
  options.loss.kl_beta = 0;
  options.schedule.lr = 3e-3;
  const auto trainer = MakeTrainer(
      options, [&] { return CudaPolicy(folder, StorageDType::kBFloat16); }, *collective);
  const std::vector<SftExample> examples = {{{1, 5, 9}, {7, 8, 9, 2}}, {{1, 6}, {3, 4, 2}}};
  const auto first = trainer->SftStep(examples);
  ASSERT_TRUE(first.ok()) << first.status();
  double last = first->loss;
  for (int step = 0; step < 40; ++step) last = trainer->SftStep(examples)->loss;
  EXPECT_LT(last, 0.2 * first->loss);
  // The masters hold more than bfloat16, and what is published is they, rounded.
  const std::vector<float> masters = Copy(trainer->policy().state().ReadState()->parameters);
  EXPECT_TRUE(std::ranges::any_of(masters, [](float v) { return BFloat16ToFloat(FloatToBFloat16(v)) != v; }));
  const auto weights = trainer->policy().state().ReadWeights(StorageDType::kBFloat16, *collective);
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_EQ(*weights, EncodeWeights(folder.layout, masters, StorageDType::kBFloat16));
  EXPECT_EQ(trainer->policy().state().ReadWeights(StorageDType::kFloat32, *collective).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(CudaTrainerTest, AStepHasTheCpusBits) {
  const ModelFolder folder = Folder("qwen2");
  const auto alone = *CreateCollective({});
  const AdamWOptions options{.weight_decay = 0.1, .max_grad_norm = 0.5};
  std::vector<float> parameters = Parameters(folder), gradients(parameters.size());
  const FlatRange all{0, folder.layout.total_numel};
  AdamW optimizer(folder.layout, std::span(&all, 1));
  using ops::cuda::DeviceArray;
  const std::vector<float> zeros(parameters.size(), 0.0f);
  DeviceArray<float> p(parameters), m(zeros), v(zeros), g(gradients.size());
  std::vector<ops::cuda::AdamWSegment> segments;
  for (const ParameterSpec& spec : folder.layout.specs) {
    segments.push_back({spec.offset, spec.offset, static_cast<int32_t>(spec.numel), spec.shape.size() >= 2 ? 1 : 0});
  }
  DeviceArray<ops::cuda::AdamWSegment> device_segments(segments);
  for (int64_t t = 1; t <= 3; ++t) {
    for (size_t i = 0; i < gradients.size(); ++i)
      gradients[i] = std::sin(static_cast<float>(i) * 0.37f * static_cast<float>(t));
    g.Write(gradients);
    const AdamWStep step{.t = t, .lr = 0.01};
    const double norm = *GlobalNorm(gradients, std::span(&all, 1), *alone);
    const AdamWCoefficients c = AdamWCoefficients::Of(options, step, norm);
    ops::cuda::AdamWUpdateArgs args = AdamWArgsOf(c);
    args.segments = device_segments.get();
    args.num_segments = static_cast<int64_t>(segments.size());
    args.gradients = g.get();
    args.parameters = p.get();
    args.first = m.get();
    args.second = v.get();
    ops::cuda::AdamWUpdate(args);
    optimizer.Step(options, step, norm, parameters, gradients);
    EXPECT_EQ(p.Read(), parameters) << t;
    EXPECT_EQ(m.Read(), Copy(optimizer.first_moment())) << t;
    EXPECT_EQ(v.Read(), Copy(optimizer.second_moment())) << t;
  }
}

TEST_F(CudaTrainerTest, ANonFiniteGradientSkipsTheStep) {
  const auto collective = Alone();
  const ModelFolder folder = Folder("qwen3");
  TrainerOptions options = Options();
  options.loss.kl_beta = 0;
  const auto trainer = MakeTrainer(
      options, [&] { return CudaPolicy(folder, StorageDType::kBFloat16); }, *collective);
  ASSERT_TRUE(trainer->TrainStep(Groups(0), kNow).ok());
  std::vector<float> poisoned = Copy(trainer->policy().state().ReadState()->parameters);
  poisoned[static_cast<size_t>(folder.layout.Find("model.norm.weight")->offset)] =
      std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> moment = Copy(trainer->policy().state().ReadState()->first_moment);
  ASSERT_TRUE(
      trainer->Restore({.parameters = poisoned, .first_moment = moment, .second_moment = moment}, trainer->counts())
          .ok());
  const auto stats = trainer->TrainStep(Groups(1), kNow);
  ASSERT_TRUE(stats.ok()) << stats.status();
  EXPECT_EQ(stats->skipped_updates, 1);
  EXPECT_EQ(trainer->counts().taken, 1);
  EXPECT_EQ(trainer->counts().skipped, 1);
  EXPECT_EQ(Copy(trainer->policy().state().ReadState()->first_moment), moment);
}

TEST_F(CudaTrainerTest, RestoredStateContinuesWithTheSameBits) {
  const auto collective = Alone();
  const ModelFolder folder = Folder("qwen3");
  const PolicyMaker make = [&] {
    return CudaPolicy(folder, StorageDType::kFloat32, {.activation_checkpointing = true});
  };
  const auto whole = MakeTrainer(Options(), make, *collective), first = MakeTrainer(Options(), make, *collective);
  for (int step = 0; step < 3; ++step) ASSERT_TRUE(whole->TrainStep(Groups(step), kNow).ok());
  ASSERT_TRUE(first->TrainStep(Groups(0), kNow).ok());
  const auto second = MakeTrainer(Options(), make, *collective);
  EXPECT_FALSE(second->Restore({}, first->counts()).ok());
  ASSERT_TRUE(second->Restore(*first->policy().state().ReadState(), first->counts()).ok());
  for (int step = 1; step < 3; ++step) ASSERT_TRUE(second->TrainStep(Groups(step), kNow).ok());
  EXPECT_EQ(Copy(whole->policy().state().ReadState()->parameters),
            Copy(second->policy().state().ReadState()->parameters));
  // A checkpoint of the CPU's is one of the GPU's.
  const auto host = MakeTrainer(
      Options(), [&] { return HostPolicy(folder, StorageDType::kFloat32); }, *collective);
  ASSERT_TRUE(host->Restore(*first->policy().state().ReadState(), first->counts()).ok());
  EXPECT_EQ(Copy(host->policy().state().ReadState()->second_moment),
            Copy(first->policy().state().ReadState()->second_moment));
}

TEST_F(CudaTrainerTest, WeightsAreSharedForTheMachine) {
  const ModelFolder folder = Folder("qwen3");
  const auto gpu = CudaPolicy(folder, StorageDType::kBFloat16);
  const auto shared = gpu->state().Share({0, 3});
  ASSERT_TRUE(shared.ok()) << shared.status();
  ASSERT_TRUE(shared->has_value());
  EXPECT_EQ((*shared)->elements, static_cast<uint64_t>(folder.layout.total_numel));
  EXPECT_EQ((*shared)->version, (PolicyVersion{0, 3}));
  EXPECT_FALSE(HostPolicy(folder, StorageDType::kFloat32)->state().Share({0, 3})->has_value());
}

TEST_F(CudaTrainerTest, ShapesTheKernelsDoNotComputeAreRefused) {
  ModelFolder folder = Folder("qwen3");
  folder.config.intermediate_size = 97;
  EXPECT_EQ(MakeLmPolicyCuda(folder.config, StorageDType::kFloat32, {}, {}, 0).status().code(),
            absl::StatusCode::kUnimplemented);
  folder = Folder("qwen3");
  folder.config.head_dim = 256;
  EXPECT_EQ(MakeLmPolicyCuda(folder.config, StorageDType::kFloat32, {}, {}, 0).status().code(),
            absl::StatusCode::kUnimplemented);
}

// Weights without masters give the same log-probs, and so the same KL term.
TEST_F(CudaTrainerTest, AReferenceIsWeightsAlone) {
  const auto collective = Alone();
  for (const StorageDType dtype : {StorageDType::kFloat32, StorageDType::kBFloat16}) {
    const ModelFolder folder = Folder(dtype == StorageDType::kFloat32 ? "qwen3" : "qwen3_bf16");
    const PolicyMaker whole = [&] { return CudaPolicy(folder, dtype); };
    const PolicyMaker weights = [&] {
      return *MakeLmPolicyCuda(folder.config, dtype, Parameters(folder), {}, 0, {.trains = false});
    };
    EXPECT_TRUE(weights()->state().share().empty());
    const auto a = MakeTrainer(Options(), whole, *collective), b = MakeTrainer(Options(), whole, *collective, weights);
    for (int step = 0; step < 2; ++step) {
      const auto expected = a->TrainStep(Groups(step, kBFloat16Vocab), kNow),
                 actual = b->TrainStep(Groups(step, kBFloat16Vocab), kNow);
      ASSERT_TRUE(expected.ok() && actual.ok()) << actual.status();
      EXPECT_EQ(actual->kl_k3, expected->kl_k3) << step;
      EXPECT_EQ(actual->grad_norm, expected->grad_norm) << step;
    }
  }
}

#ifdef TACTUS_CUDA_EMULATED
// Ranks as threads of one process, each with its own "GPU", over Gloo: the buckets' sums begin inside Backward.
TEST_F(CudaTrainerTest, TwoRanksFollowOneRank) {
  const ModelFolder folder = Folder("qwen3");
  const PolicyMaker make = [&] { return CudaPolicy(folder, StorageDType::kFloat32); };
  const auto alone = Alone();
  const auto single = MakeTrainer(Options(), make, *alone);
  std::vector<StepRecord> expected;
  expected.reserve(3);
  for (int step = 0; step < 3; ++step) expected.push_back(*single->TrainStep(Groups(step), kNow));
  std::vector<std::vector<float>> parameters(2);
  OnRanks(2, [&](Collective& collective) {
    const auto trainer = MakeTrainer(Options(), make, collective);
    for (int step = 0; step < 3; ++step) {
      const auto stats = trainer->TrainStep(Groups(step), kNow);
      ASSERT_TRUE(stats.ok()) << stats.status();
      const StepRecord& one = expected[static_cast<size_t>(step)];
      // With the same weights the ranks' sums alone differ. AdamW's first step divides each gradient by its own size,
      // so that one which is all rounding moves its weight as far as any other.
      EXPECT_NEAR(stats->loss, one.loss, (step == 0 ? 5e-6 : 3e-5) * std::abs(one.loss)) << step;
      EXPECT_NEAR(stats->grad_norm, one.grad_norm, 1e-5 * one.grad_norm) << step;
    }
    parameters[static_cast<size_t>(collective.rank())] = Copy(trainer->policy().state().ReadState()->parameters);
  });
  EXPECT_EQ(parameters[0], parameters[1]);
}

// Sharded, the gradient is added up in another way, and its norm in another order: float32 rounding apart.
TEST_F(CudaTrainerTest, AShardedOptimizerFollowsAWholeOne) {
  for (const StorageDType dtype : {StorageDType::kFloat32, StorageDType::kBFloat16}) {
    const ModelFolder folder = Folder(dtype == StorageDType::kFloat32 ? "qwen3" : "qwen3_bf16");
    TrainerOptions options = Options();
    options.loss.kl_beta = 0;
    options.optimizer.max_grad_norm = 0.5;
    std::vector<std::vector<char>> weights(2);
    std::vector<std::vector<double>> norms(2);
    for (const Shard shard : {Shard::kNone, Shard::kOptimizer}) {
      OnRanks(2, [&](Collective& collective) {
        const Sharding place{shard, collective.rank(), collective.size(), int64_t{4096} * 4};
        const auto make = [&] { return *MakeLmPolicyCuda(folder.config, dtype, Parameters(folder), {}, 0, place); };
        auto trainer = MakeTrainer(options, make, collective);
        ASSERT_TRUE(trainer->TrainStep(Groups(0, kBFloat16Vocab), kNow).ok());
        const ParameterSnapshot state = *trainer->policy().state().ReadState();
        EXPECT_EQ(static_cast<int64_t>(state.second_moment.size()), NumelOf(trainer->policy().state().share()));
        auto second = MakeTrainer(options, make, collective);  // goes on from its share
        ASSERT_TRUE(second->Restore(state, trainer->counts()).ok());
        for (int step = 1; step < 4; ++step) {
          const auto stats = second->TrainStep(Groups(step, kBFloat16Vocab), kNow);
          ASSERT_TRUE(stats.ok()) << stats.status();
          if (collective.rank() == 0) norms[static_cast<size_t>(shard)].push_back(stats->grad_norm);
        }
        if (collective.rank() == 0) {
          weights[static_cast<size_t>(shard)] = *second->policy().state().ReadWeights(dtype, collective);
        }
      });
    }
    ASSERT_EQ(norms[0].size(), 3u);
    ASSERT_EQ(norms[1].size(), 3u);
    for (size_t step = 0; step < 3; ++step) EXPECT_NEAR(norms[1][step], norms[0][step], 1e-5 * norms[0][step]);
    // The order of the norm's sum may move the clipping's last bit.
    size_t differing = 0;
    for (size_t i = 0; i < weights[0].size(); ++i) differing += weights[0][i] != weights[1][i] ? 1 : 0;
    EXPECT_LE(differing, weights[0].size() / (dtype == StorageDType::kFloat32 ? 2 : 50));
  }
}
#endif

}  // namespace
}  // namespace tactus
