// The attention rhythm that the engine measures while it decodes: against float64 full-matrix goldens, and the same
// bits whatever the batch, the chunks, preemption or a weight swap do.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "actor/engine/engine.h"
#include "common/rhythm/rhythm.h"
#include "tests/actor/engine/rhythm_goldens.h"
#include "tests/actor/engine/run_all.h"

namespace tactus {
namespace {

std::vector<EngineRequest> ForcedRequests(const std::vector<Json>& goldens) {
  std::vector<EngineRequest> requests;
  for (size_t i = 0; i < goldens.size(); ++i) {
    EngineRequest request;
    request.request_id = i;
    request.prompt_ids = goldens[i].at("prompt_ids").get<std::vector<TokenId>>();
    request.forced_ids = goldens[i].at("response_ids").get<std::vector<TokenId>>();
    request.measure_rhythm = true;
    requests.push_back(std::move(request));
  }
  return requests;
}

constexpr StorageDType kFloat32 = StorageDType::kFloat32;

void ExpectSameSums(const Outcome& got, const Outcome& want) {
  ASSERT_EQ(got.sums.size(), want.sums.size());
  for (const auto& [key, sums] : want.sums) {
    const HeadSums& other = got.sums.at(key);
    EXPECT_EQ(other.num_tokens, sums.num_tokens);
    EXPECT_EQ(other.span_sum, sums.span_sum) << key.first << "/" << key.second;
    EXPECT_EQ(other.waad, sums.waad) << key.first << "/" << key.second;
    EXPECT_EQ(other.fai_sum, sums.fai_sum) << key.first << "/" << key.second;
    EXPECT_EQ(got.completions.at(key).token_ids, want.completions.at(key).token_ids);
  }
}

// ---- against float64 ------------------------------------------------------------------------------------------------

class RhythmGoldenTest : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Families, RhythmGoldenTest, ::testing::ValuesIn(FamilyModels()),
                         [](const auto& one) { return one.param; });

// 1 to 1,000 tokens, all in one ragged batch, every one twice: two of the longest do not fit in the cache at once, so
// the newer is preempted and computed again.
TEST_P(RhythmGoldenTest, AgreesWithFloat64UnderPreemption) {
  std::vector<Json> goldens = Goldens(GetParam());
  ASSERT_EQ(goldens.size(), 8u);
  for (size_t i = 0; i < 8; ++i) goldens.push_back(Json(goldens[i]));
  const ModelFolder folder = Folder(GetParam());
  const std::vector<int32_t> layers = DefaultRhythmLayers(folder.config.num_layers);
  ASSERT_EQ(layers, goldens[0].at("layers").get<std::vector<int32_t>>());
  // The longest alone needs 66 pages.
  const Outcome outcome = RunAll(folder, WithProbe({.max_sequences = 16, .max_step_tokens = 64}, layers), 90, kFloat32,
                                 ForcedRequests(goldens));
  EXPECT_GT(outcome.stats.preemptions, 0);
  EXPECT_GT(outcome.stats.recomputed_rows, 100);
  EXPECT_EQ(outcome.stats.final_rows, 16);
  for (size_t i = 0; i < goldens.size(); ++i) {
    SCOPED_TRACE(goldens[i].at("id"));
    const Rhythm rhythm = ComputeRhythm(outcome.sums.at({i, 0}), Options());
    CheckRhythm(goldens[i], rhythm, folder.config.num_heads);
    CheckGammas(goldens[i], rhythm, outcome.completions.at({i, 0}).entropy);
  }
}

// ---- the same bits --------------------------------------------------------------------------------------------------

std::vector<EngineRequest> SampledRequests(const ModelConfig& config) {
  std::mt19937 random(17);
  std::vector<EngineRequest> requests;
  for (int i = 0; i < 6; ++i) {
    EngineRequest request;
    request.request_id = i;
    request.prompt_id = i;
    request.seed = 5;
    request.prompt_ids.resize(1 + random() % 40);
    for (TokenId& id : request.prompt_ids) id = static_cast<TokenId>(random() % config.vocab_size);
    request.num_completions = 1 + i % 4;
    request.max_tokens = i == 0 ? 1 : 40 + i;
    request.stop_ids = {1, 2};
    request.measure_rhythm = i != 5;
    requests.push_back(std::move(request));
  }
  return requests;
}

class EngineRhythmDTypeTest : public ::testing::TestWithParam<StorageDType> {};
INSTANTIATE_TEST_SUITE_P(Pages, EngineRhythmDTypeTest,
                         ::testing::Values(StorageDType::kFloat32, StorageDType::kBFloat16));

TEST_P(EngineRhythmDTypeTest, DoesNotDependOnBatchChunksOrPreemption) {
  const ModelFolder folder = Folder("qwen3");
  const std::vector<EngineRequest> requests = SampledRequests(folder.config);
  const auto run = [&](EngineOptions options, int64_t pages) {
    return RunAll(folder, WithProbe(std::move(options), {0, 1}), pages, GetParam(), requests);
  };
  const Outcome wide = run({.max_sequences = 32, .max_step_tokens = 512}, 400);
  EXPECT_EQ(wide.sums.size(), wide.completions.size() - 2);  // request 5 has two completions, unmeasured
  EXPECT_EQ(wide.stats.preemptions, 0);
  const Outcome starved = run({.max_sequences = 7, .max_step_tokens = 11}, 9);
  EXPECT_GT(starved.stats.preemptions, 0);
  ExpectSameSums(run({.max_sequences = 1, .max_step_tokens = 3}, 20), wide);
  ExpectSameSums(starved, wide);
}

TEST(EngineRhythmTest, MeasuringChangesNoTokenAndNoLogProb) {
  const ModelFolder folder = Folder("llama");
  std::vector<EngineRequest> requests = SampledRequests(folder.config);
  const Outcome measured = RunAll(folder, WithProbe({.max_sequences = 8}, {0, 1}), 100, kFloat32, requests);
  for (EngineRequest& request : requests) request.measure_rhythm = false;
  const Outcome plain = RunAll(folder, {.max_sequences = 8}, 100, kFloat32, requests);
  EXPECT_EQ(plain.stats.final_rows, 0);
  for (const auto& [key, completion] : plain.completions) {
    EXPECT_EQ(measured.completions.at(key).token_ids, completion.token_ids);
    EXPECT_EQ(measured.completions.at(key).logprobs, completion.logprobs);
    EXPECT_EQ(measured.completions.at(key).finish_reason, completion.finish_reason);
  }
}

// Rows read before a swap are the old weights' to the bit, and later ones are not.
TEST(EngineRhythmTest, RowsBelongToTheWeightsThatReadThem) {
  const ModelFolder folder = Folder("llama");
  const std::vector<EngineRequest> requests = ForcedRequests({Goldens("llama")[5]});  // 57 tokens
  const EngineOptions options = WithProbe({.max_sequences = 1}, {0, 1});
  const HeadSums old = RunAll(folder, options, 40, kFloat32, requests).sums.at({0, 0});
  auto engine = *Engine::Create(options, *CreateModelRunner(folder, {.max_pages = 40}));
  ASSERT_TRUE(engine->Add(requests[0]).ok());
  std::optional<FinishedCompletion> done;
  for (int step = 0; !engine->idle(); ++step) {
    if (step == 21) {  // step 0 reads the prompt, step k row k - 1
      std::vector<float> other(static_cast<size_t>(folder.layout.total_numel), 0.01f);
      ASSERT_TRUE(engine->SwapWeights({.incarnation = 0, .step = 1}, other).ok());
    }
    const absl::StatusOr<std::span<FinishedCompletion>> finished = engine->Step();
    ASSERT_TRUE(finished.ok()) << finished.status();
    if (!finished->empty()) done = std::move(finished->front());
  }
  ASSERT_TRUE(done.has_value());
  EXPECT_EQ(done->completion.versions.size(), 2u);
  const HeadSums swapped = done->rhythm->Finish();
  for (int64_t head = 0; head < old.num_heads; ++head) {
    for (int64_t t = 0; t < 57; ++t) {
      const size_t at = static_cast<size_t>(head * 57 + t);
      if (t < 20) {
        EXPECT_EQ(swapped.waad[at], old.waad[at]) << head << " " << t;
      } else {
        EXPECT_NE(swapped.waad[at], old.waad[at]) << head << " " << t;
      }
    }
  }
}

TEST(EngineRhythmTest, RefusesWhatItCannotMeasure) {
  const ModelFolder folder = Folder("llama");
  EXPECT_THAT(Engine::Create(WithProbe({}, {0, 2}), *CreateModelRunner(folder, {.max_pages = 40})).status().message(),
              ::testing::HasSubstr("credit.layers holds 2"));
  auto engine = *Engine::Create({}, *CreateModelRunner(folder, {.max_pages = 40}));
  EngineRequest request;
  request.prompt_ids = {5};
  request.max_tokens = 3;
  request.measure_rhythm = true;
  EXPECT_EQ(engine->Add(request).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace tactus
