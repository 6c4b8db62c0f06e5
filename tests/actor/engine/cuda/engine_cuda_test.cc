// The real engine and scheduler on the GPU's runner, in the emulation or on a GPU: against the CPU's engine within
// tolerances, and against itself to the bit where bits are promised (model_runner_cuda.h).
#include <ATen/ops/from_blob.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "actor/engine/cuda/model_runner_cuda.h"
#include "actor/engine/engine.h"
#include "common/device/runtime_cuda.h"
#include "common/weights/shared_weights_cuda.h"
#include "tests/actor/engine/run_all.h"
#include "tests/device/need_gpu.h"
#include "tests/model/golden_models.h"
#include "tools/batch/score.h"
#ifdef TACTUS_CUDA_EMULATED
#include "common/device/emulator_cuda.h"
#endif

namespace tactus {
namespace {

ModelFolder Folder(const std::string& name) { return *OpenModelFolder(GoldenModelPath(name)); }

constexpr StorageDType kFloat32 = StorageDType::kFloat32, kBFloat16 = StorageDType::kBFloat16;

std::unique_ptr<ModelRunnerCuda> Runner(const ModelFolder& folder, int64_t pages, StorageDType dtype = kFloat32,
                                        const ModelRunnerCudaOptions& cuda = {}, int64_t sequences = 8,
                                        const GpuWays& ways = {}) {
  auto runner = CreateModelRunnerCuda(folder,
                                      {.weights_dtype = dtype,
                                       .max_pages = pages,
                                       .device = {.gpu = 0},
                                       .gpu_ways = ways,
                                       .max_sequences = sequences,
                                       .max_step_tokens = 64,
                                       .max_sequence_tokens = 200},
                                      cuda);
  EXPECT_TRUE(runner.ok()) << runner.status();
  return *std::move(runner);
}

Outcome RunCuda(const ModelFolder& folder, const EngineOptions& options, int64_t pages, StorageDType dtype,
                const std::vector<EngineRequest>& requests, const GpuWays& ways = {}) {
  auto engine = *Engine::Create(options, Runner(folder, pages, dtype, {}, options.max_sequences, ways));
  return RunAll(*engine, requests);
}

std::vector<TokenId> RandomIds(std::mt19937& random, size_t count, int64_t vocab) {
  std::vector<TokenId> ids(count);
  for (TokenId& id : ids) id = static_cast<TokenId>(random() % static_cast<uint64_t>(vocab));
  return ids;
}

// Prompts of 1 to 40 tokens, 1 to 3 completions each, sampled in several ways.
std::vector<EngineRequest> Requests(const ModelConfig& config, int max_tokens = 12) {
  std::mt19937 random(11);
  std::vector<EngineRequest> requests;
  for (int i = 0; i < 5; ++i) {
    EngineRequest request;
    request.request_id = 100 + i;
    request.prompt_id = i;
    request.seed = 5;
    request.prompt_ids = RandomIds(random, 1 + random() % 40, config.vocab_size);
    request.num_completions = 1 + i % 3;
    request.max_tokens = max_tokens + i;
    request.sampling.temperature = i == 3 ? 0.0f : 1.0f;
    if (i == 4) request.sampling = {.temperature = 0.7f, .top_p = 0.8f, .top_k = 20};
    requests.push_back(std::move(request));
  }
  requests[0].prompt_ids.resize(1);  // a prompt of one row
  return requests;
}

class CudaEngineTest : public ::testing::Test {
 protected:
  void SetUp() override { NEED_GPU(); }
};

// ---- against the CPU ------------------------------------------------------------------------------------------------

class CudaModelTest : public ::testing::TestWithParam<GoldenModel> {
 protected:
  void SetUp() override { NEED_GPU(); }
  // How far a log-prob may be from the CPU's, nats. bfloat16: the GPU rounds every activation to it, the CPU few.
  static float Tolerance() { return GetParam().dtype == kFloat32 ? 2e-5f : 0.05f; }
};
INSTANTIATE_TEST_SUITE_P(Models, CudaModelTest, ::testing::ValuesIn(GoldenModels()),
                         [](const auto& one) { return one.param.name; });

TEST_P(CudaModelTest, ScoresAsTheCpu) {
  const ModelFolder folder = Folder(GetParam().name);
  std::mt19937 random(3);
  std::vector<ScoreItem> items;
  for (const size_t length : {1, 17, 40}) {
    items.push_back(
        {RandomIds(random, length, folder.config.vocab_size), RandomIds(random, 12, folder.config.vocab_size)});
  }
  const auto expected =
      *PrefillScorer(*CreateModelRunner(folder, {.weights_dtype = GetParam().dtype, .max_pages = 20}), 64)
           ->Score(items);
  const auto decoded =
      *DecodeScorer(*Engine::Create({.max_sequences = 3}, Runner(folder, 20, GetParam().dtype)))->Score(items);
  const auto prefilled = *PrefillScorer(Runner(folder, 20, GetParam().dtype), 13)->Score(items);
  float worst = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    for (size_t t = 0; t < expected[i].size(); ++t) {
      worst = std::max({worst, std::abs(decoded[i][t] - expected[i][t]), std::abs(prefilled[i][t] - expected[i][t])});
    }
  }
  RecordProperty("largest_difference_nats", std::to_string(worst));
  EXPECT_LE(worst, Tolerance());
}

TEST_P(CudaModelTest, Samples64GreedyTokensAsTheCpu) {
  const ModelFolder folder = Folder(GetParam().name);
  EngineRequest request;
  std::mt19937 random(5);
  request.prompt_ids = RandomIds(random, 19, folder.config.vocab_size);
  request.max_tokens = 64;
  request.sampling.temperature = 0;
  const std::vector<TokenId> expected =
      RunAll(folder, {}, 20, GetParam().dtype, {request}).completions.at({0, 0}).token_ids;
  const std::vector<TokenId> got =
      RunCuda(folder, {.max_sequences = 4}, 20, GetParam().dtype, {request}).completions.at({0, 0}).token_ids;
  if (GetParam().dtype == kFloat32) {
    EXPECT_EQ(got, expected);
    return;
  }
  // Where they part, the CPU must hold both tokens for as likely as rounding can tell.
  const auto parting = std::mismatch(got.begin(), got.end(), expected.begin(), expected.end());
  if (parting.first == got.end()) return;
  const auto logprob_of = [&](std::vector<TokenId> tokens) {
    auto runner = *CreateModelRunner(folder, {.weights_dtype = GetParam().dtype, .max_pages = 20});
    const std::vector<ScoreItem> item = {{request.prompt_ids, std::move(tokens)}};
    return (*PrefillScorer(std::move(runner), 64)->Score(item))[0].back();
  };
  EXPECT_NEAR(logprob_of({got.begin(), parting.first + 1}), logprob_of({expected.begin(), parting.second + 1}),
              Tolerance());
}

TEST_F(CudaEngineTest, DrawsTheCpusTokensInEveryWayOfSampling) {
  const ModelFolder folder = Folder("llama");
  const std::vector<EngineRequest> requests = Requests(folder.config);
  const Outcome expected = RunAll(folder, {.max_sequences = 8}, 60, kFloat32, requests);
  const Outcome got = RunCuda(folder, {.max_sequences = 8}, 60, kFloat32, requests);
  ASSERT_EQ(got.completions.size(), expected.completions.size());
  for (const auto& [key, completion] : expected.completions) {
    const Completion& other = got.completions.at(key);
    EXPECT_EQ(other.token_ids, completion.token_ids) << key.first << "/" << key.second;
    EXPECT_EQ(other.finish_reason, completion.finish_reason);
    for (size_t t = 0; t < std::min(completion.logprobs.size(), other.logprobs.size()); ++t) {
      EXPECT_NEAR(other.logprobs[t], completion.logprobs[t], 2e-5) << key.first << "/" << key.second << " " << t;
      EXPECT_NEAR(other.entropy[t], completion.entropy[t], 2e-5) << key.first << "/" << key.second << " " << t;
    }
  }
}

// ---- the rhythm -----------------------------------------------------------------------------------------------------

EngineOptions WithProbe(EngineOptions options, int64_t horizon_max = 30) {
  options.probe = {.layers = {0, 1}, .window_tokens = 10, .horizon_min_tokens = 4, .horizon_max_tokens = horizon_max};
  return options;
}

std::vector<EngineRequest> ForcedRequests(const ModelConfig& config, bool keep_attention) {
  std::mt19937 random(17);
  std::vector<EngineRequest> requests;
  for (int i = 0; i < 4; ++i) {
    EngineRequest request;
    request.request_id = i;
    request.prompt_ids = RandomIds(random, 3 + 11 * i, config.vocab_size);
    request.forced_ids = RandomIds(random, 45 - 4 * i, config.vocab_size);
    request.measure_rhythm = i != 2;
    request.keep_attention = keep_attention;
    requests.push_back(std::move(request));
  }
  return requests;
}

void ExpectSumsNear(const Outcome& got, const Outcome& want, double tolerance) {
  ASSERT_EQ(got.sums.size(), want.sums.size());
  for (const auto& [key, sums] : want.sums) {
    const HeadSums& other = got.sums.at(key);
    ASSERT_EQ(other.num_tokens, sums.num_tokens);
    ASSERT_EQ(other.fai_sum.size(), sums.fai_sum.size());
    for (size_t h = 0; h < sums.span_sum.size(); ++h) {
      EXPECT_NEAR(other.span_sum[h], sums.span_sum[h], tolerance * sums.span_sum[h]) << h;
    }
    for (size_t i = 0; i < sums.waad.size(); ++i) {
      EXPECT_NEAR(other.waad[i], sums.waad[i], 10 * tolerance) << i;
      EXPECT_NEAR(other.fai_sum[i], sums.fai_sum[i], tolerance * (1 + sums.fai_sum[i])) << i;
    }
  }
}

// Few pages: sequences are preempted, and rows measured at the end of what is computed again.
TEST_F(CudaEngineTest, MeasuresTheCpusRhythmUnderPreemption) {
  for (const std::string& model : FamilyModels()) {
    SCOPED_TRACE(model);
    const ModelFolder folder = Folder(model);
    const std::vector<EngineRequest> requests = ForcedRequests(folder.config, false);
    const Outcome expected = RunAll(folder, WithProbe({.max_sequences = 4}), 40, kFloat32, requests);
    const Outcome got = RunCuda(folder, WithProbe({.max_sequences = 4, .max_step_tokens = 16}), 12, kFloat32, requests);
    EXPECT_GT(got.stats.preemptions, 0);
    EXPECT_GT(got.stats.recomputed_rows, 0);
    ExpectSumsNear(got, expected, 1e-5);
  }
}

TEST_F(CudaEngineTest, MeasuresToTheEndOfTheResponseAndKeepsAttention) {
  const ModelFolder folder = Folder("qwen3");
  const std::vector<EngineRequest> requests = ForcedRequests(folder.config, true);
  const EngineOptions options = WithProbe({.max_sequences = 4}, RhythmOptions::kToTheEnd);
  const Outcome expected = RunAll(folder, options, 40, kFloat32, requests);
  const Outcome got = RunCuda(folder, options, 40, kFloat32, requests);
  ExpectSumsNear(got, expected, 1e-5);
  ASSERT_EQ(got.attention.size(), 3u);
  for (const auto& [key, rows] : expected.attention) {
    const auto& other = got.attention.at(key);
    ASSERT_EQ(other.size(), rows.size());
    for (size_t t = 0; t < rows.size(); ++t) {
      ASSERT_EQ(other[t].size(), rows[t].size());
      for (size_t i = 0; i < rows[t].size(); ++i) ASSERT_NEAR(other[t][i], rows[t][i], 1e-6) << t << " " << i;
    }
  }
}

TEST_F(CudaEngineTest, MeasuresBFloat16WithinItsRounding) {
  const ModelFolder folder = Folder("qwen3_bf16");
  const std::vector<EngineRequest> requests = ForcedRequests(folder.config, false);
  const Outcome expected = RunAll(folder, WithProbe({.max_sequences = 4}), 40, kBFloat16, requests);
  const Outcome got = RunCuda(folder, WithProbe({.max_sequences = 4}), 40, kBFloat16, requests);
  ExpectSumsNear(got, expected, 0.02);
}

// ---- the same bits --------------------------------------------------------------------------------------------------

TEST_F(CudaEngineTest, ARowDoesNotDependOnItsNeighboursInABucket) {
  const ModelFolder folder = Folder("qwen3");
  std::vector<EngineRequest> requests = Requests(folder.config);
  // A prompt of more than one token is a run, and one that several answers are drawn from makes a step that does not
  // recur: such steps are in no bucket, and promise nothing.
  for (EngineRequest& request : requests) {
    request.prompt_ids.resize(1);
    request.num_completions = 1;
  }
  const ModelRunnerCudaOptions bucket{.fewest_rows = 8};
  std::optional<Outcome> alone;
  for (const int sequences : {1, 3, 7}) {
    SCOPED_TRACE(sequences);
    auto engine =
        *Engine::Create({.max_sequences = sequences, .max_step_tokens = 64}, Runner(folder, 60, kFloat32, bucket, 8));
    const Outcome outcome = RunAll(*engine, requests);
    if (!alone.has_value()) alone = outcome;
    if (sequences > 1) ExpectSameBits(outcome, *alone);
  }
}

TEST_F(CudaEngineTest, ReplayedStepsHaveTheBitsOfEagerOnes) {
  const ModelFolder folder = Folder("llama");
  std::vector<EngineRequest> requests = Requests(folder.config);
  for (EngineRequest& request : requests) request.measure_rhythm = request.request_id % 2 == 0;
  const EngineOptions options = WithProbe({.max_sequences = 8});
  const Outcome eager = RunCuda(folder, options, 60, kFloat32, requests, {.graphs = false});
  auto runner = Runner(folder, 60, kFloat32);
  ModelRunnerCuda* const cuda = runner.get();
  auto engine = *Engine::Create(options, std::move(runner));
  ExpectSameBits(RunAll(*engine, requests), eager);
  EXPECT_GT(cuda->stats().recorded_graphs, 0);
  EXPECT_GT(cuda->stats().replayed_steps, 2 * cuda->stats().recorded_graphs);
  const int64_t replayed = cuda->stats().replayed_steps;
  ExpectSameBits(RunAll(*engine, requests), eager);
  EXPECT_GT(cuda->stats().replayed_steps, replayed);
#ifdef TACTUS_CUDA_EMULATED
  device::emulated::SetOrder(3);  // of blocks and threads
  ExpectSameBits(RunAll(*engine, requests), eager);
  device::emulated::SetOrder(0);
#endif
}

#ifdef TACTUS_CUDA_EMULATED
// What a library does may not be recorded: the run goes on without, with the same bits, and says so once.
TEST_F(CudaEngineTest, WhereARecordingFailsStepsAreRunWithoutAGraph) {
  const ModelFolder folder = Folder("llama");
  const std::vector<EngineRequest> requests = Requests(folder.config);
  const EngineOptions options{.max_sequences = 8};
  const Outcome eager = RunCuda(folder, options, 60, kFloat32, requests, {.graphs = false});
  auto runner = Runner(folder, 60, kFloat32);
  ModelRunnerCuda* const cuda = runner.get();
  auto engine = *Engine::Create(options, std::move(runner));
  device::emulated::RefuseGraphs(true);
  ::testing::internal::CaptureStderr();
  ExpectSameBits(RunAll(*engine, requests), eager);
  const std::string log = ::testing::internal::GetCapturedStderr();
  device::emulated::RefuseGraphs(false);
  const std::string line =
      "steps are no longer recorded as CUDA graphs, so each takes longer: a graph can't be recorded: the emulation "
      "refuses";
  EXPECT_THAT(log, ::testing::HasSubstr(line));
  EXPECT_EQ(log.find(line), log.rfind(line)) << "said twice";
  ExpectSameBits(RunAll(*engine, requests), eager);
  EXPECT_EQ(cuda->stats().recorded_graphs, 0);
  EXPECT_EQ(cuda->stats().replayed_steps, 0);
}
#endif

TEST_F(CudaEngineTest, PreemptionAndSharedPrefixesChangeNoToken) {
  const ModelFolder folder = Folder("qwen2");
  const std::vector<EngineRequest> requests = Requests(folder.config, 25);
  const Outcome wide = RunCuda(folder, {.max_sequences = 8, .max_step_tokens = 512}, 100, kFloat32, requests);
  const Outcome starved = RunCuda(folder, {.max_sequences = 5, .max_step_tokens = 11}, 9, kFloat32, requests);
  EXPECT_EQ(wide.stats.preemptions, 0);
  EXPECT_GT(starved.stats.preemptions, 0);
  for (const auto& [key, completion] : wide.completions) {
    EXPECT_EQ(starved.completions.at(key).token_ids, completion.token_ids);
    // A prompt cut in other pieces, a decode row computed again as part of a run: rounding may differ on a GPU.
    for (size_t t = 0; t < completion.logprobs.size(); ++t) {
      EXPECT_NEAR(starved.completions.at(key).logprobs[t], completion.logprobs[t], 2e-5);
    }
  }
}

// ---- one wait a step ------------------------------------------------------------------------------------------------

TEST_F(CudaEngineTest, TheHostWaitsOnceAStep) {
  const ModelFolder folder = Folder("llama");
  auto engine = *Engine::Create(WithProbe({.max_sequences = 6, .max_step_tokens = 24}), Runner(folder, 40));
  for (EngineRequest request : Requests(folder.config)) {
    request.measure_rhythm = true;
    ASSERT_TRUE(engine->Add(std::move(request)).ok());
  }
  while (!engine->idle()) {
    const int64_t before = device::SynchronizeCount();
    ASSERT_TRUE(engine->Step().ok());
    EXPECT_EQ(device::SynchronizeCount(), before + 1);
  }
}

// ---- draws ----------------------------------------------------------------------------------------------------------

TEST_F(CudaEngineTest, DrawsForcedAndSampledRowsOfOneStep) {
  const ModelFolder folder = Folder("llama");
  const std::vector<int32_t> pages = {0, 1};
  StepPlan plan;
  plan.batch.token_ids = {5, 9, 2};
  plan.batch.runs = {{0, 3, 0, pages}};
  plan.draws = {{.row = 0, .params = {}, .target = 7},
                {.row = 1, .params = {.temperature = 0.5f}, .target = 7},
                {.row = 1, .params = {.temperature = 0.5f}, .target = 8},
                {.row = 2, .params = {.uniform = 0.25}},
                {.row = 2, .params = {.uniform = 0.75}},
                {.row = 2, .params = {.temperature = 0}}};
  std::vector<ops::SampledToken> expected(plan.draws.size()), got(plan.draws.size());
  ASSERT_TRUE((*CreateModelRunner(folder, {.max_pages = 4}))->Execute(plan, expected).ok());
  ASSERT_TRUE(Runner(folder, 4)->Execute(plan, got).ok());
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(got[i].token, expected[i].token) << i;
    EXPECT_NEAR(got[i].logprob, expected[i].logprob, 2e-5) << i;
    EXPECT_NEAR(got[i].entropy, expected[i].entropy, 2e-5) << i;
  }
}

TEST_F(CudaEngineTest, DrawsMoreFirstTokensThanRowsOfLogitsExist) {
  const ModelFolder folder = Folder("llama");
  EngineRequest request;
  request.prompt_ids = {5, 9, 2};
  request.seed = 3;
  request.num_completions = 600;
  request.max_tokens = 1;
  const Outcome expected = RunAll(folder, {}, 10, kFloat32, {request});
  const Outcome got = RunCuda(folder, {.max_sequences = 8}, 10, kFloat32, {request});
  int different = 0;
  for (const auto& [key, completion] : expected.completions) {
    different += got.completions.at(key).token_ids != completion.token_ids ? 1 : 0;
  }
  EXPECT_LE(different, 1);  // a draw within rounding of a boundary between two tokens
}

// ---- weights --------------------------------------------------------------------------------------------------------

TEST_F(CudaEngineTest, SwapsStagedWeightsInMidSequence) {
  const ModelFolder folder = Folder("llama");
  std::vector<float> parameters(folder.layout.total_numel);
  ASSERT_TRUE(LoadParameters(folder, parameters).ok());
  const std::vector<float> zeros(parameters.size(), 0.0f);
  EngineRequest request;
  request.prompt_ids = {5, 9, 2};
  request.max_tokens = 24;
  const Outcome plain = RunCuda(folder, {.max_sequences = 2}, 40, kFloat32, {request});
  auto runner = Runner(folder, 40);
  const ModelRunnerCuda& cuda = *runner;
  auto engine = *Engine::Create({.max_sequences = 2}, std::move(runner));
  EXPECT_EQ(engine->UseStagedWeights({2, 1}).code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(engine->Add(request).ok());
  Completion completion;
  for (int step = 0; !engine->idle(); ++step) {
    // Zeros for tokens 8 to 15, then the first weights again, in the first memory again.
    if (step == 8 || step == 16) {
      std::thread([&] { EXPECT_TRUE(engine->StageWeights(step == 8 ? zeros : parameters).ok()); }).join();
      ASSERT_TRUE(engine->UseStagedWeights({2, static_cast<uint64_t>(step)}).ok());
    }
    const auto finished = engine->Step();
    ASSERT_TRUE(finished.ok()) << finished.status();
    if (!finished->empty()) completion = finished->front().completion;
  }
  EXPECT_EQ(completion.versions, (std::vector<VersionSpan>{{0, {}}, {8, {2, 8}}, {16, {2, 16}}}));
  const float uniform = -std::log(static_cast<float>(folder.config.vocab_size));
  for (size_t t = 0; t < 24; ++t) {
    EXPECT_EQ(std::abs(completion.logprobs[t] - uniform) < 1e-5f, t >= 8 && t < 16) << t;
  }
  EXPECT_EQ(std::vector<TokenId>(completion.token_ids.begin(), completion.token_ids.begin() + 8),
            std::vector<TokenId>(plain.completions.at({0, 0}).token_ids.begin(),
                                 plain.completions.at({0, 0}).token_ids.begin() + 8));
  EXPECT_GE(cuda.stats().recorded_graphs, 2);  // one shape, for each place of the weights

  EXPECT_EQ(engine->SwapWeights({2, 17}, std::span(parameters).first(10)).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(engine->StageWeights({1, 2, 3}).code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(CudaEngineTest, CopiesALearnersWeightsFromItsMemory) {
  if (!device::Emulated()) GTEST_SKIP() << "CUDA's memory handles need two processes";
  for (const auto& [model, dtype] : {std::pair("qwen3", kFloat32), {"qwen3_bf16", kBFloat16}}) {
    const ModelFolder folder = Folder(model);
    std::vector<float> parameters(folder.layout.total_numel);
    ASSERT_TRUE(LoadParameters(folder, parameters).ok());
    SharedWeightExport learner(0, folder.layout.total_numel, dtype);
    const SharedWeights shared =
        *learner.Publish({1, 1}, at::from_blob(parameters.data(), {folder.layout.total_numel}, at::kFloat));
    auto runner = *CreateModelRunnerCuda(
        folder, {.weights_dtype = dtype, .load_weights = false, .max_pages = 20, .device = {.gpu = 0}});
    ASSERT_TRUE(runner->StageSharedWeights(shared).ok());
    ASSERT_TRUE(runner->UseStagedWeights().ok());
    const std::vector<ScoreItem> items = {{{5, 6, 7}, {8, 9, 10}}};
    EXPECT_EQ(*PrefillScorer(std::move(runner), 64)->Score(items),
              *PrefillScorer(Runner(folder, 20, dtype), 64)->Score(items));
    SharedWeights other = shared;
    other.elements -= 16;
    EXPECT_EQ(Runner(folder, 20, dtype)->StageSharedWeights(other).code(), absl::StatusCode::kInvalidArgument);
    other = shared;
    other.handle = "gone";
    EXPECT_EQ(Runner(folder, 20, dtype)->StageSharedWeights(other).code(), absl::StatusCode::kUnavailable);
  }
}

TEST_F(CudaEngineTest, RefusesWhatCannotWork) {
  const ModelFolder folder = Folder("llama");
  const ModelRunnerOptions gpu{.load_weights = false, .max_pages = 4, .device = {.gpu = 0}};
  ModelRunnerOptions no_cache = gpu;
  no_cache.kv_cache_mib = 0;
  EXPECT_THAT(CreateModelRunnerCuda(folder, no_cache).status().message(), ::testing::HasSubstr("actor.kv_cache_mib"));
  ModelFolder odd = folder;
  odd.config.hidden_size = 60;
  EXPECT_EQ(CreateModelRunnerCuda(odd, gpu).status().code(), absl::StatusCode::kUnimplemented);
  odd = folder;
  odd.config.head_dim = 256;  // which the CPU computes
  EXPECT_EQ(
      CreateModelRunnerCuda(odd, gpu).status(),
      absl::UnimplementedError(absl::StrCat("a GPU's kernels need a head size that is a multiple of 16 of at most "
                                            "128 and a vocabulary of at most 1048576 tokens; this model's are 256 "
                                            "and ",
                                            folder.config.vocab_size, ".")));
  odd = folder;
  odd.config.vocab_size = (1 << 20) + 1;
  EXPECT_EQ(CreateModelRunnerCuda(odd, gpu).status().code(), absl::StatusCode::kUnimplemented);
  const std::vector<int32_t> pages = {0};
  StepPlan plan;
  plan.batch.token_ids = {5};
  plan.batch.runs = {{0, 1, 0, pages}};
  EXPECT_EQ((*CreateModelRunnerCuda(folder, gpu))->Execute(plan, {}).code(), absl::StatusCode::kInternal);
}

}  // namespace
}  // namespace tactus
