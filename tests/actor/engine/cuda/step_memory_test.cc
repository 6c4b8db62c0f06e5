// What a runner takes of a GPU's memory, by the emulation's account: of a step's blocks, and all of it against what is
// predicted before it is made.
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "actor/engine/cuda/device_io_cuda.h"
#include "actor/engine/cuda/device_step.h"
#include "actor/engine/cuda/model_runner_cuda.h"
#include "common/config/run_config.h"
#include "common/config/storage_dtype.h"
#include "common/device/emulator_cuda.h"
#include "common/model/memory_need.h"
#include "common/ops/step_sizes.h"
#include "common/rhythm/credit_assigner.h"
#include "proto/config.pb.h"
#include "tests/actor/engine/run_all.h"
#include "tests/model/golden_models.h"

namespace tactus {
namespace {

// ---- a step's blocks ------------------------------------------------------------------------------------------------

// A step of 8 decode rows at position 40, each measured; the first `kept` keep their attention.
StepShape ShapeOfMeasured(int kept) {
  static const std::vector<int32_t> pages = {0, 1, 2};
  std::vector<double> span(8);
  std::vector<float> probs(8 * 48);
  ops::AttentionProbe probe{.layers = {0, 1}, .window_tokens = 10, .horizon_min_tokens = 4, .horizon_max_tokens = 30};
  StepPlan plan;
  plan.batch.probe = &probe;
  for (int r = 0; r < 8; ++r) {
    plan.batch.token_ids.push_back(1);
    plan.batch.runs.push_back({r, 1, 40, pages});
    plan.batch.taps.push_back({.prompt_tokens = 10, .num_heads = 8, .span_sum = span.data()});
    if (r < kept) plan.batch.taps.back().probs = probs.data();
  }
  DeviceStep step;
  PlanDeviceStep(plan, 1, 8, step);
  return ShapeOf(step, plan, 4);
}

size_t BytesComingBack(const StepShape& shape) {
  StepIo io(0);
  io.Prepare(shape);
  return io.out_bytes();
}

// 8 heads, a table of 16 pages: 256 tokens.
TEST(StepMemoryTest, RowsThatKeepTheirAttentionPayForThemselvesAlone) {
  const size_t none = BytesComingBack(ShapeOfMeasured(0)), one = BytesComingBack(ShapeOfMeasured(1));
  const size_t all = BytesComingBack(ShapeOfMeasured(8));
  EXPECT_EQ(one - none, size_t{8} * 256 * sizeof(float));
  EXPECT_EQ(all - none, size_t{8} * 8 * 256 * sizeof(float));
}

TEST(StepMemoryTest, ABlockHasWhatIsAskedForAndNoMore) {
  const int64_t before = device::emulated::TakenBytes().now;
  DeviceBlock block(0);
  EXPECT_TRUE(block.Reserve(1000));
  EXPECT_FALSE(block.Reserve(1000));
  EXPECT_FALSE(block.Reserve(10));
  EXPECT_TRUE(block.Reserve(1001));
  EXPECT_EQ(device::emulated::TakenBytes().now - before, 1001);
}

// ---- all of it against the prediction -------------------------------------------------------------------------------

struct Taken {
  int64_t predicted = 0, taken = 0;
};

// What a run's actor takes while it answers forced tokens and gets a second set of weights.
Taken TakenBy(const std::string& model, const std::vector<std::string>& overrides) {
  const ModelFolder folder = *OpenModelFolder(GoldenModelPath(model));
  constexpr char kText[] = R"(model { path: "m" } task { name: "countdown" } service { plaintext: true }
                              actor { kv_cache_mib: 1 } gpu { graphs: false }
                              rollout { max_prompt_tokens: 20 max_completion_tokens: 40 })";
  const config::RunConfig run = config::ParseRunConfig(kText, "t", overrides).value();
  const ops::AttentionProbe probe = ProbeOfRun(run.credit(), folder.config.num_layers, folder.config.num_heads).value();
  Taken result;
  // The context is CUDA's, which the emulation has none of.
  result.predicted = ActorMemory("actor-0", folder.config, run, Device{0}, probe).total() - kGpuContextBytes;

  const int64_t before = device::emulated::TakenBytes().now;
  device::emulated::ResetPeak();
  EngineOptions options{.max_sequences = run.actor().max_sequences(), .max_step_tokens = run.actor().max_step_tokens()};
  options.probe = probe;
  const int64_t longest = std::min<int64_t>(run.rollout().max_prompt_tokens() + run.rollout().max_completion_tokens(),
                                            folder.config.max_position);
  auto runner =
      *CreateModelRunnerCuda(folder, {.weights_dtype = StorageDTypeOf(run.model().dtype()),
                                      .kv_cache_mib = run.actor().kv_cache_mib(),
                                      .max_pages = 2 * int64_t{options.max_sequences} * (longest / kPageTokens + 2),
                                      .device = {.gpu = 0},
                                      .gpu_ways = {.graphs = false, .flash_attention = run.gpu().flash_attention()},
                                      .max_sequences = options.max_sequences,
                                      .max_step_tokens = options.max_step_tokens,
                                      .max_sequence_tokens = longest,
                                      .probe = probe});
  auto engine = *Engine::Create(options, std::move(runner));
  std::vector<EngineRequest> requests;
  for (int i = 0; i < options.max_sequences; ++i) {
    EngineRequest request;
    request.request_id = static_cast<uint64_t>(i);
    // The first is as long as one may be; of the others that they are there counts.
    const bool longest_one = i == 0;
    request.prompt_ids.assign(static_cast<size_t>(longest_one ? run.rollout().max_prompt_tokens() : 4), 3 + i % 5);
    request.max_tokens = longest_one ? run.rollout().max_completion_tokens() : 3;
    request.measure_rhythm = !probe.layers.empty();
    requests.push_back(std::move(request));
  }
  RunAll(*engine, requests);
  std::vector<float> parameters(static_cast<size_t>(folder.layout.total_numel), 0.5f);
  EXPECT_TRUE(engine->StageWeights(std::move(parameters)).ok());
  result.taken = device::emulated::TakenBytes().peak - before;
  return result;
}

class ActorMemoryTest : public testing::TestWithParam<std::vector<std::string>> {};
// What takes most differs: weights and rows; the cache; splits of long sequences; what is measured to a response's end.
INSTANTIATE_TEST_SUITE_P(
    Configurations, ActorMemoryTest,
    testing::Values(std::vector<std::string>{"actor.max_step_tokens=256", "actor.max_sequences=4"},
                    std::vector<std::string>{"actor.max_step_tokens=32", "actor.max_sequences=8",
                                             "rollout.max_completion_tokens=100"},
                    std::vector<std::string>{"actor.max_step_tokens=64", "actor.max_sequences=12",
                                             "rollout.max_prompt_tokens=400", "rollout.max_completion_tokens=12"},
                    std::vector<std::string>{"actor.max_step_tokens=32", "actor.max_sequences=6",
                                             "credit.strategy=COUPLED", "credit.horizon_max_tokens=0",
                                             "credit.layers=0,1", "rollout.max_completion_tokens=150"}));

TEST_P(ActorMemoryTest, IsPredictedWithinATenth) {
  for (const auto& [model, dtype] : {std::pair("llama", "FLOAT32"), {"qwen3_bf16", "BFLOAT16"}}) {
    SCOPED_TRACE(model);
    std::vector<std::string> overrides = GetParam();
    overrides.push_back(std::string("model.dtype=") + dtype);
    overrides.push_back("gpu.flash_attention=false");  // which the emulation has not
    const Taken memory = TakenBy(model, overrides);
    EXPECT_GT(memory.taken, 0);
    EXPECT_LE(std::abs(static_cast<double>(memory.predicted) / static_cast<double>(memory.taken) - 1), 0.1)
        << memory.predicted << " predicted, " << memory.taken << " taken";
  }
}

}  // namespace
}  // namespace tactus
