// Predicted memory against arithmetic done by hand from the models' published shapes.
#include "common/model/memory_need.h"

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/config/run_config.h"
#include "gtest/gtest.h"
#include "proto/config.pb.h"
#include "tests/tree.h"

namespace tactus {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20, kGiB = int64_t{1} << 30;

ModelConfig Model(const std::string& name) {
  const std::string file = SourcePath("tests/goldens/model_configs/") + name + "/config.json";
  return ParseModelConfig(ReadFile(file).value(), "", file).value();
}

config::RunConfig Configured(std::vector<std::string> overrides) {
  constexpr char kText[] = R"(model { path: "m" dtype: BFLOAT16 } task { name: "countdown" } service { plaintext: true }
                              rollout { prompts_per_step: 64 completions_per_prompt: 8
                                        max_prompt_tokens: 256 max_completion_tokens: 768 })";
  return config::ParseRunConfig(kText, "t", overrides).value();
}

// As by default: five layers, distances 10 to 100.
const ops::AttentionProbe kMeasured{
    .layers = {9, 11, 14, 16, 18}, .window_tokens = 10, .horizon_min_tokens = 10, .horizon_max_tokens = 100};

int64_t BytesOf(const MemoryNeed& need, const std::string& name) {
  for (const MemoryItem& item : need.items) {
    if (item.name == name) return item.bytes;
  }
  return 0;
}

TEST(MemoryNeedTest, ShapesHaveThePublishedNumberOfParameters) {
  EXPECT_EQ(MakeParameterLayout(Model("smollm2-135m")).total_numel, 134'515'008);
  EXPECT_EQ(MakeParameterLayout(Model("qwen3-0.6b")).total_numel, 596'049'920);
  EXPECT_EQ(MakeParameterLayout(Model("qwen3-1.7b")).total_numel, 1'720'574'976);
  EXPECT_EQ(MakeParameterLayout(Model("qwen3-4b-base")).total_numel, 4'022'468'096);
  EXPECT_EQ(MakeParameterLayout(Model("qwen3-8b")).total_numel, 8'190'735'360);
  EXPECT_EQ(MakeParameterLayout(Model("qwen3-32b")).total_numel, 32'762'123'264);
}

// H 1024, I 3072, 28 layers, query columns 2048, key and value columns 1024 each, 16 query and 8 key/value heads.
TEST(MemoryNeedTest, LearnerOfQwen06OnAGpu) {
  const config::RunConfig run =
      Configured({"learner.micro_batch_tokens=4096", "learner.activation_checkpointing=true"});
  const MemoryNeed need = LearnerMemory("learner-0", Model("qwen3-0.6b"), run, Device{0});
  EXPECT_EQ(BytesOf(need, "weights"), 1'192'099'840);
  EXPECT_EQ(BytesOf(need, "master weights"), 2'384'199'680);
  EXPECT_EQ(BytesOf(need, "gradients"), 2'384'199'680);
  EXPECT_EQ(BytesOf(need, "moments"), 4'768'399'360);
  EXPECT_EQ(BytesOf(need, "reference policy"), 0);
  EXPECT_EQ(BytesOf(need, "logits"), 256 * 151936 * (4 + 2)) << "with their gradients";
  // A row. Floats: a layer's input, mid and norms of the kept layer, stream, chosen and dfinal 5 x 1024 + 24; inverse
  // norms 2. Together 5146. In bf16: layer inputs 28 x 1024 = 28672; qkv and raw 8192; normed, delta, rounded, din
  // 4096; dqkv 4096; normed and dnormed of the head 2048. Together 47104. The MLP: gate_up, activated, dgate_up,
  // dnarrow 6 x 3072 = 18432. Attention, which grows by a quarter: output, copied keys and values, dk and dv 2048 +
  // 2048 + 4096 in bf16, statistics and dq 16 + 2048 floats.
  constexpr int64_t kRow = 5146 * 4 + (47104 + 18432) * 2 + (8192 * 2 + 2064 * 4) * 5 / 4;
  EXPECT_EQ(BytesOf(need, "activations"), 4096 * kRow);
  EXPECT_EQ(BytesOf(need, "context"), kGpuContextBytes);
  EXPECT_EQ(need.total(), 18 * int64_t{596'049'920} + 747'339'776 + 256 * int64_t{151'936} * 6 + kGiB);
}

TEST(MemoryNeedTest, WithoutCheckpointingEveryLayerKeepsItsActivations) {
  const config::RunConfig run = Configured({"learner.micro_batch_tokens=4096"});
  const MemoryNeed need = LearnerMemory("learner-0", Model("qwen3-0.6b"), run, Device{0});
  // Inputs in float32; of each layer mid and norms 1048 floats, qkv and raw 8192, gate_up 6144, and of attention
  // output 2048 and 16 floats.
  constexpr int64_t kFloats = 28 * 1024 + 28 * 1048 + 3 * 1024 + 2, kElements = 28 * 8192 + 4096 + 4096 + 2048;
  constexpr int64_t kMlp = 28 * 6144 + 9216 + 3072, kAttention = (28 * 2048 + 6144) * 2 + (28 * 16 + 2048) * 4;
  EXPECT_EQ(BytesOf(need, "activations"), 4096 * (kFloats * 4 + (kElements + kMlp) * 2 + kAttention * 5 / 4));
}

TEST(MemoryNeedTest, AMicroBatchIsNoLargerThanTheStep) {
  // Two prompts of one completion each in two updates: one sequence of at most 1024 tokens.
  const config::RunConfig small = Configured({"rollout.prompts_per_step=2", "rollout.completions_per_prompt=1",
                                              "algorithm.updates_per_batch=2", "learner.micro_batch_tokens=4096"});
  const config::RunConfig full = Configured({"learner.micro_batch_tokens=4096"});
  const ModelConfig model = Model("qwen3-0.6b");
  EXPECT_EQ(4 * BytesOf(LearnerMemory("learner-0", model, small, Device{0}), "activations"),
            BytesOf(LearnerMemory("learner-0", model, full, Device{0}), "activations"));
}

TEST(MemoryNeedTest, AGroupHasItsPromptOnce) {
  // One group of 8 answers to 256 tokens, of 768 tokens each, is 256 + 8 * 768 = 6400 rows.
  const config::RunConfig step = Configured({"rollout.prompts_per_step=1", "learner.micro_batch_tokens=16384"});
  const config::RunConfig full = Configured({"learner.micro_batch_tokens=6400"});
  for (const Device device : {Device{}, Device{0}}) {
    EXPECT_EQ(BytesOf(LearnerMemory("", Model("qwen3-0.6b"), step, device), "activations"),
              BytesOf(LearnerMemory("", Model("qwen3-0.6b"), full, device), "activations"));
  }
}

TEST(MemoryNeedTest, AReferencePolicyIsAModelOfItsOwn) {
  const config::RunConfig run = Configured({"algorithm.kl_beta=0.1", "learner.micro_batch_tokens=4096"});
  // Weights alone; a row: stream and chosen 2048 floats and norms 24; in bf16 qkv 4096, three of 1024, gate_up and
  // activated 9216; attention's output 2048 and 16 floats, which grow by a quarter.
  EXPECT_EQ(
      BytesOf(LearnerMemory("learner-0", Model("qwen3-0.6b"), run, Device{0}), "reference policy"),
      2 * int64_t{596'049'920} + 4096 * int64_t{2072 * 4 + (4096 + 3072 + 9216) * 2 + (2048 * 2 + 16 * 4) * 5 / 4});
}

TEST(MemoryNeedTest, SharingWeightsTakesTwoSetsMore) {
  EXPECT_EQ(SharedWeightsBytes(Model("qwen3-0.6b"), Configured({})), int64_t{2} * 1'192'099'840);
}

TEST(MemoryNeedTest, Float32OnAGpuComputesWithTheMasterWeights) {
  const MemoryNeed need =
      LearnerMemory("learner-0", Model("qwen3-0.6b"), Configured({"model.dtype=FLOAT32"}), Device{0});
  EXPECT_EQ(BytesOf(need, "weights"), 0);
  EXPECT_EQ(BytesOf(need, "master weights"), 2'384'199'680);
}

TEST(MemoryNeedTest, AShardedOptimizerIsDividedAmongTheRanks) {
  const ModelConfig model = Model("qwen3-0.6b");
  const config::RunConfig run = Configured({});
  const MemoryNeed whole = LearnerMemory("learner-0", model, run, Device{0});
  for (const int world : {1, 2, 8}) {
    const Sharding sharding{.shard = Shard::kOptimizer, .rank = 0, .world = world};
    const MemoryNeed need = LearnerMemory("learner-0", model, run, Device{0}, sharding);
    EXPECT_EQ(BytesOf(need, "master weights"), 2'384'199'680 / world);
    EXPECT_EQ(BytesOf(need, "moments"), 4'768'399'360 / world);
    EXPECT_EQ(BytesOf(need, "gradients"), BytesOf(whole, "gradients"));
    EXPECT_EQ(BytesOf(need, "weights"), BytesOf(whole, "weights"));
    // The host's products are laid out from all of the masters.
    const MemoryNeed host = LearnerMemory("learner-0", model, run, Device{}, sharding);
    EXPECT_EQ(BytesOf(host, "master weights"), 2'384'199'680);
    EXPECT_EQ(BytesOf(host, "moments"), 4'768'399'360 / world);
    EXPECT_EQ(BytesOf(host, "checkpoint"), 3 * 2'384'199'680 / world) << "as long as one is written";
  }
  // Float32 products read the whole weights, beside which the masters of a share lie.
  const MemoryNeed exact = LearnerMemory("learner-0", model, Configured({"model.dtype=FLOAT32"}), Device{0},
                                         {.shard = Shard::kOptimizer, .rank = 0, .world = 2});
  EXPECT_EQ(BytesOf(exact, "weights"), 2'384'199'680);
  EXPECT_EQ(BytesOf(exact, "master weights"), 2'384'199'680 / 2);
}

// Of a layer 4096 x 1024 + 2048 x 1024 + 3 x 1024 x 3072 = 15,728,640 numbers in matrices; embedding and head 151936 x
// 1024 = 155,582,464; a bucket 8,388,608.
TEST(MemoryNeedTest, GradientsAndWeightsAreDividedButForWhatIsUnderWay) {
  const ModelConfig model = Model("qwen3-0.6b");
  const config::RunConfig run = Configured({"algorithm.kl_beta=0.1"});
  const auto need = [&](Shard shard, Device device, int rank = 1) {
    return LearnerMemory("", model, run, device, {.shard = shard, .rank = rank, .world = 4});
  };
  constexpr int64_t kWindow = 155'582'464 + 2 * int64_t{15'728'640}, kBucket = 8'388'608;
  for (const Device device : {Device{}, Device{0}}) {
    for (const Shard shard : {Shard::kGradients, Shard::kParameters}) {
      EXPECT_EQ(BytesOf(need(shard, device), "gradients"), 2'384'199'680 / 4);
      EXPECT_EQ(BytesOf(need(shard, device), "gradients, under way"),
                4 * (kWindow + (device.is_gpu() ? 6 : 1) * kBucket));
      EXPECT_EQ(BytesOf(need(shard, device), "moments"), 4'768'399'360 / 4);
    }
    EXPECT_EQ(BytesOf(need(Shard::kGradients, device), "weights"), BytesOf(need(Shard::kOptimizer, device), "weights"));
    EXPECT_EQ(BytesOf(need(Shard::kParameters, device), "master weights"), 2'384'199'680 / 4);
  }
  const MemoryNeed host = need(Shard::kParameters, Device{}), gpu = need(Shard::kParameters, Device{0});
  EXPECT_EQ(BytesOf(host, "weights"), 2 * (15'728'640 + 155'582'464)) << "a layer and the head";
  EXPECT_EQ(BytesOf(host, "weights, backward"), 2 * (15'728'640 + 155'582'464));
  EXPECT_EQ(BytesOf(host, "weights, arriving"), 6 * (155'582'464 + 8'388'608)) << "masters, and as it is sent";
  EXPECT_EQ(BytesOf(host, "published copies"), 0) << "rank 0 alone ever has all weights";
  EXPECT_GT(BytesOf(need(Shard::kParameters, Device{}, 0), "published copies"), 0);
  EXPECT_EQ(BytesOf(gpu, "weights"), 1'192'099'840 / 4 + 2 * (15'728'640 + 155'582'464));
  EXPECT_EQ(BytesOf(gpu, "weights, arriving"), 2 * (15'728'640 + 6 * 8'388'608)) << "another layer, whole buckets";
  // The reference's: what is held shrinks, a forward pass's buffers stay.
  EXPECT_EQ(BytesOf(need(Shard::kGradients, Device{0}), "reference policy") - BytesOf(gpu, "reference policy"),
            1'192'099'840 - 1'192'099'840 / 4 - 2 * (15'728'640 + 155'582'464) - 2 * (15'728'640 + 6 * 8'388'608));
}

// The table in docs/GPU.md.
TEST(MemoryNeedTest, WhatDivisionLetsAGpuOf80GbHold) {
  struct Row {
    const char* model;
    int ranks, tokens;
    double optimizer, gradients, parameters;  // GiB
  };
  for (const Row& row :
       {Row{"qwen3-4b-base", 8, 32768, 40.9, 30.2, 24.8}, Row{"qwen3-8b", 8, 32768, 75.0, 52.2, 40.9},
        Row{"qwen3-32b", 16, 8192, 215.9, 108.2, 54.3}, Row{"qwen3-32b", 16, 32768, 238.8, 131.1, 77.3}}) {
    const config::RunConfig run =
        Configured({"learner.activation_checkpointing=true", absl::StrCat("learner.micro_batch_tokens=", row.tokens)});
    const auto gib = [&](Shard shard) {
      const Sharding sharding{.shard = shard, .rank = 0, .world = row.ranks};
      return static_cast<double>(LearnerMemory("", Model(row.model), run, Device{0}, sharding).total()) / double{kGiB};
    };
    EXPECT_NEAR(gib(Shard::kOptimizer), row.optimizer, 0.06) << row.model;
    EXPECT_NEAR(gib(Shard::kGradients), row.gradients, 0.06) << row.model;
    EXPECT_NEAR(gib(Shard::kParameters), row.parameters, 0.06) << row.model;
  }
}

TEST(MemoryNeedTest, TheLeastShardingThatFitsIsChosen) {
  const ModelConfig model = Model("qwen3-0.6b");
  const config::RunConfig automatic = Configured({});
  const int64_t whole = LearnerMemory("", model, automatic, Device{0}).total();
  EXPECT_EQ(ChooseShard(model, automatic, Device{0}, 2, whole), Shard::kNone);
  EXPECT_EQ(ChooseShard(model, automatic, Device{0}, 2, whole - 1), Shard::kOptimizer);
  EXPECT_EQ(ChooseShard(model, automatic, Device{0}, 1, 0), Shard::kNone) << "one rank has nothing to share";
  EXPECT_EQ(ChooseShard(model, Configured({"learner.shard=OPTIMIZER"}), Device{0}, 2, whole), Shard::kOptimizer);
  EXPECT_EQ(ChooseShard(model, Configured({"learner.shard=NONE"}), Device{0}, 2, 0), Shard::kNone);
  EXPECT_EQ(ChooseShard(model, automatic, Device{0}, 2, 0), Shard::kParameters) << "the most there is";
  const auto host = [&](Shard shard) {
    return LearnerMemory("", model, automatic, Device{}, {.shard = shard, .rank = 0, .world = 2}).total();
  };
  EXPECT_EQ(ChooseShard(model, automatic, Device{}, 2, host(Shard::kOptimizer)), Shard::kOptimizer);
  EXPECT_EQ(ChooseShard(model, automatic, Device{}, 2, host(Shard::kOptimizer) - 1), Shard::kGradients);
  EXPECT_EQ(ChooseShard(model, automatic, Device{}, 2, host(Shard::kGradients) - 1), Shard::kParameters);
  EXPECT_EQ(ChooseShard(model, Configured({"learner.shard=GRADIENTS"}), Device{}, 2, 0), Shard::kGradients);
}

TEST(MemoryNeedTest, ActorOfQwen06OnAGpu) {
  const config::RunConfig run =
      Configured({"actor.kv_cache_mib=4096", "actor.max_sequences=64", "actor.max_step_tokens=2048"});
  const MemoryNeed need = ActorMemory("actor-0", Model("qwen3-0.6b"), run, Device{0}, kMeasured);
  EXPECT_EQ(BytesOf(need, "weights"), 1'192'099'840);
  EXPECT_EQ(BytesOf(need, "weights, next version"), 1'192'099'840) << "made ready beside those in use";
  // A page: keys and values of 16 tokens in 28 layers of 1024 columns, bf16: 1,835,008 bytes; 2340 of them fit.
  EXPECT_EQ(BytesOf(need, "key/value cache"), int64_t{2340} * 1'835'008);
  // A row: the stream 1024 floats and 24 of the norms of heads; in bf16 normed and delta 2048, qkv 4096, attention
  // 2048, gate_up 6144, activated 3072; FlashAttention's output 2048 and 16 floats. Rotary tables for 40960 positions
  // of 128. To the GPU and back: 5 numbers a row, page tables of 128 for 64 running sequences and as many runs, and
  // three numbers for each; a draw's parameters, results and places, 68 bytes a row.
  EXPECT_EQ(BytesOf(need, "activations"),
            int64_t{2048} * (1064 * 4 + 19456 * 2 + 5 * 4 + 68) + 40960 * 128 * 4 + (2 * 64 * 128 + 3 * 64) * 4);
  // 1024 tokens take 65 pages, a table of 128, which is 2048 keys in 8 splits of 4 numbers and an output.
  EXPECT_EQ(BytesOf(need, "attention, splits"), 64 * 16 * 8 * (4 + 128) * 4);
  EXPECT_EQ(BytesOf(need, "attention, prompts"), (2048 + 1024) * 2 * 1024 * 2);
  EXPECT_EQ(BytesOf(need, "attention, measured"), 64 * (5 * 16) * (2 + 91) * 4) << "span, WAAD, distances 10 to 100";
  EXPECT_EQ(BytesOf(need, "logits"), 64 * (151936 * 4 + 1024 * (4 + 2) + 4));
  // 9 buckets of rows, 4 of pages, for two sets of weights; 12 kernels a layer and 8 more.
  EXPECT_EQ(BytesOf(need, "graphs"), 2 * 9 * 4 * (12 * 28 + 8) * kGraphNodeBytes);
  // No more than 64 running and 64 waiting sequences of 1024 tokens with 2 pages to spare can use.
  const config::RunConfig large = Configured({"actor.kv_cache_mib=40960", "actor.max_sequences=64"});
  EXPECT_EQ(BytesOf(ActorMemory("actor-0", Model("qwen3-0.6b"), large, Device{0}, {}), "key/value cache"),
            int64_t{2} * 64 * 66 * 1'835'008);
}

TEST(MemoryNeedTest, WhatAGpusActorDoesNotDoTakesNothing) {
  const ModelConfig model = Model("qwen3-0.6b");
  const config::RunConfig run = Configured({"gpu.graphs=false", "gpu.flash_attention=false", "actor.max_sequences=64",
                                            "rollout.max_prompt_tokens=64", "rollout.max_completion_tokens=64"});
  const MemoryNeed need = ActorMemory("actor-0", model, run, Device{0}, {});
  for (const char* name : {"graphs", "attention, prompts", "attention, measured", "attention, splits"}) {
    EXPECT_EQ(BytesOf(need, name), 0) << name;
  }
  // To the end of 8192 tokens: what the default horizon takes a hundredth of.
  const config::RunConfig longer = Configured({"rollout.max_completion_tokens=7936", "actor.max_sequences=64"});
  ops::AttentionProbe to_the_end = kMeasured;
  to_the_end.horizon_max_tokens = int64_t{1} << 40;
  EXPECT_EQ(BytesOf(ActorMemory("actor-0", model, longer, Device{0}, to_the_end), "attention, measured"),
            int64_t{64} * 80 * (2 + 8192 - 9) * 4);
  // Prompts of float32 go through decode attention, 256 rows at a time: 16384 keys in 64 splits.
  const config::RunConfig exact = Configured({"rollout.max_completion_tokens=7936", "model.dtype=FLOAT32"});
  EXPECT_EQ(BytesOf(ActorMemory("actor-0", model, exact, Device{0}, {}), "attention, splits"),
            int64_t{256} * 16 * 64 * (4 + 128) * 4);
}

// 8,190,735,360 parameters: 30.5 GiB in float32, 15.3 in bfloat16.
TEST(MemoryNeedTest, AGpusProcessesNeedMemoryOfTheHostToo) {
  const ModelConfig model = Model("qwen3-8b");
  const config::RunConfig run = Configured({});
  const MemoryNeed actor = ActorHostMemory("actor-0", model, run);
  EXPECT_EQ(BytesOf(actor, "weights, next version"), int64_t{4} * 8'190'735'360);
  EXPECT_EQ(BytesOf(actor, "weights as they came"), int64_t{2} * 8'190'735'360);
  EXPECT_EQ(actor.total(), int64_t{6} * 8'190'735'360 + kGpuHostBytes);
  EXPECT_EQ(ActorHostMemory("actor-0", model, Configured({"model.dtype=FLOAT32"})).total(),
            int64_t{4} * 8'190'735'360 + kGpuHostBytes);
  EXPECT_EQ(
      CheckMemory({actor}, "the host", 32 * kGiB).message(),
      "actor-0 needs 47.8 GiB of memory on the host, where 32.0 GiB can be had: expected a smaller model, or less "
      "of what takes most: actor-0 weights, next version 30.5 GiB; actor-0 weights as they came 15.3 GiB "
      "(model.dtype); actor-0 process 2.0 GiB.");
  EXPECT_EQ(LearnerHostMemory("learner-0", model, run).total(), (int64_t{12} + 4) * 8'190'735'360 + kGpuHostBytes)
      << "a checkpoint's copy and two published ones";
  EXPECT_EQ(LearnerHostMemory("learner-1", model, run, {.shard = Shard::kOptimizer, .rank = 1, .world = 4}).total(),
            int64_t{4} * 8'190'735'360 + kGpuHostBytes)
      << "the folder's weights, of which a quarter stays";
}

// H 576, I 1536, 30 layers, query columns 576, key and value columns 192 each, 9 heads.
TEST(MemoryNeedTest, SmolLm2OnTheCpu) {
  const config::RunConfig run = Configured({"model.dtype=FLOAT32", "learner.micro_batch_tokens=2048"});
  const ModelConfig model = Model("smollm2-135m");
  const MemoryNeed learner = LearnerMemory("learner-0", model, run, Device{});
  // Matrices of a layer 576 x 960 + 576 x 576 + 3 x 576 x 1536 = 3,538,944; with the head, laid out once more,
  // 30 x 3,538,944 + 576 x 49,152 = 134,479,872 floats, for the forward and again for the backward pass.
  EXPECT_EQ(BytesOf(learner, "weights"), int64_t{4} * 134'479'872);
  EXPECT_EQ(BytesOf(learner, "weights, backward"), int64_t{4} * 134'479'872);
  EXPECT_EQ(BytesOf(learner, "moments"), int64_t{8} * 134'515'008);
  EXPECT_EQ(BytesOf(learner, "checkpoint"), int64_t{12} * 134'515'008);
  EXPECT_EQ(BytesOf(learner, "published copies"), int64_t{2} * 4 * 134'515'008);
  // A row: 30 x 576 = 17280; kept 30 x (960 + 576 + 3072 + 9 + 576 = 5193) = 155790; stream 576; normed and activated
  // 576
  // + 1536 = 2112; backward 576 + 1 + 1536 + 3072 + 960 = 6145; head 2305; right 1536; pages 384.
  EXPECT_EQ(BytesOf(learner, "activations"),
            int64_t{2048} * 4 * (17280 + 155790 + 576 + 2112 + 6145 + 2305 + 1536 + 384));
  const MemoryNeed actor = ActorMemory("actor-0", model, run, Device{}, kMeasured);
  EXPECT_EQ(BytesOf(actor, "master weights"), int64_t{4} * 134'515'008);
  EXPECT_EQ(BytesOf(actor, "weights, next version"), int64_t{2} * 4 * 134'515'008);
  EXPECT_EQ(BytesOf(actor, "context"), 0);
}

TEST(MemoryNeedTest, WhatDoesNotFitIsOneSentence) {
  const MemoryNeed learner{.process = "learner-0",
                           .items = {{"moments", 9 * kGiB}, {"activations", 5 * kGiB, "learner.micro_batch_tokens"}}};
  const MemoryNeed actor{.process = "actor-0", .items = {{"weights", 1 * kGiB}, {"context", 700 * kMiB}}};
  EXPECT_EQ(CheckMemory({learner, actor}, "cuda:0", 16 * kGiB), absl::OkStatus());
  EXPECT_EQ(CheckMemory({learner}, "cuda:0", 14 * kGiB), absl::OkStatus()) << "to the last byte";
  EXPECT_EQ(CheckMemory({learner}, "cuda:0", 14 * kGiB - 1).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(
      CheckMemory({learner, actor}, "cuda:0", 12 * kGiB).message(),
      "learner-0, actor-0 need 15.7 GiB of memory on cuda:0, where 12.0 GiB can be had: expected a smaller model, or "
      "less of what takes most: learner-0 moments 9.0 GiB; learner-0 activations 5.0 GiB "
      "(learner.micro_batch_tokens); actor-0 weights 1.0 GiB; actor-0 context 700 MiB.");
}

TEST(MemoryNeedTest, ABudgetLimitsWhatIsFree) {
  EXPECT_EQ(BudgetBytes(0, 20 * kGiB), 20 * kGiB);
  EXPECT_EQ(BudgetBytes(4096, 20 * kGiB), 4 * kGiB);
  EXPECT_EQ(BudgetBytes(40960, 20 * kGiB), 20 * kGiB) << "no more than is there";
  EXPECT_GT(AvailableBytes(Device{}, {}), 64 * kMiB);
}

const MemoryNeed kNothing{.process = "actor-0", .items = {}};

TEST(MemoryNeedTest, AProcessChecksItsOwnGpuOnly) {
  const MemoryNeed need{.process = "actor-0", .items = {{"weights", 10 * kGiB}}};
  GpuList gpus;
  for (int i = 0; i < 2; ++i) {
    gpus.gpus.push_back({.index = i,
                         .name = "Test GPU",
                         .total_bytes = 24 * kGiB,
                         .free_bytes = i == 0 ? 4 * kGiB : 20 * kGiB,
                         .compute_major = 9,
                         .compute_minor = 0});
  }
  EXPECT_EQ(CheckOwnMemory(need, kNothing, Device{1}, 0, gpus), absl::OkStatus());
  EXPECT_EQ(CheckOwnMemory(need, kNothing, Device{0}, 0, gpus).code(), absl::StatusCode::kUnavailable)
      << "not yet free";
  const MemoryNeed large{.process = "actor-0", .items = {{"weights", 25 * kGiB}}};
  EXPECT_EQ(CheckOwnMemory(large, kNothing, Device{0}, 0, gpus).code(), absl::StatusCode::kFailedPrecondition)
      << "never fits";
  EXPECT_EQ(
      CheckOwnMemory(need, kNothing, Device{1}, 8192, gpus).message(),
      "actor-0 needs 10.0 GiB of memory on cuda:1, where 8.0 GiB can be had: expected a smaller model, or less of "
      "what takes most: actor-0 weights 10.0 GiB.");
  EXPECT_EQ(CheckOwnMemory(need, kNothing, Device{}, 0, gpus), absl::OkStatus()) << "the CPU's is not checked";
}

TEST(MemoryNeedTest, AProcessOnAGpuChecksTheHostsMemoryToo) {
  GpuList gpus;
  gpus.gpus.emplace_back().total_bytes = 24 * kGiB;
  const MemoryNeed endless{.process = "actor-0", .items = {{"weights, next version", int64_t{1} << 50}}};
  const absl::Status status = CheckOwnMemory(kNothing, endless, Device{0}, 0, gpus);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(status.message().find("actor-0 needs 1048576.0 GiB of memory on the host, where "), std::string::npos)
      << status;
}

}  // namespace
}  // namespace tactus
