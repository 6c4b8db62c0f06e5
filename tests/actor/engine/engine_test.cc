// The engine on a real (tiny) model: what it samples must depend on the request alone, to the last bit.
#include "actor/engine/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "common/ops/cpu/parallel.h"
#include "tests/actor/engine/run_all.h"
#include "tests/model/golden_models.h"
#include "tools/batch/score.h"

namespace tactus {
namespace {

ModelFolder Folder(const std::string& name) { return *OpenModelFolder(GoldenModelPath(name)); }

std::unique_ptr<ModelRunner> Runner(const ModelFolder& folder, int64_t pages,
                                    StorageDType dtype = StorageDType::kFloat32) {
  return *CreateModelRunner(folder, {.weights_dtype = dtype, .max_pages = pages});
}

std::vector<TokenId> RandomIds(std::mt19937& random, size_t count, int64_t vocab) {
  std::vector<TokenId> ids(count);
  for (TokenId& id : ids) id = static_cast<TokenId>(random() % static_cast<uint64_t>(vocab));
  return ids;
}

std::vector<EngineRequest> Requests(const ModelConfig& config) {
  std::mt19937 random(11);
  std::vector<EngineRequest> requests;
  for (int i = 0; i < 6; ++i) {
    EngineRequest request;
    request.request_id = 100 + i;
    request.prompt_id = i;
    request.seed = 5;
    request.prompt_ids = RandomIds(random, 1 + random() % 40, config.vocab_size);
    request.num_completions = 1 + i % 4;
    request.max_tokens = 30 + i;
    request.sampling.temperature = i == 3 ? 0.0f : 1.0f;
    if (i == 4) request.sampling = {.temperature = 0.7f, .top_p = 0.8f, .top_k = 20};
    request.stop_ids = {1, 2, 3};
    requests.push_back(std::move(request));
  }
  return requests;
}

class EngineModelTest : public ::testing::TestWithParam<GoldenModel> {};
INSTANTIATE_TEST_SUITE_P(Models, EngineModelTest, ::testing::ValuesIn(GoldenModels()),
                         [](const auto& one) { return one.param.name; });

TEST_P(EngineModelTest, CompletionsDoNotDependOnBatchChunksOrPreemption) {
  const ModelFolder folder = Folder(GetParam().name);
  const std::vector<EngineRequest> requests = Requests(folder.config);
  const auto run = [&](const EngineOptions& options, int64_t pages) {
    return RunAll(folder, options, pages, GetParam().dtype, requests);
  };
  const Outcome wide = run({.max_sequences = 32, .max_step_tokens = 512}, 400);
  EXPECT_EQ(wide.stats.preemptions, 0);
  const Outcome single = run({.max_sequences = 1, .max_step_tokens = 3}, 20);
  const Outcome starved = run({.max_sequences = 7, .max_step_tokens = 11}, 9);
  EXPECT_GT(starved.stats.preemptions, 0);
  EXPECT_GT(starved.stats.recomputed_rows, 0);
  ExpectSameBits(single, wide);
  ExpectSameBits(starved, wide);
  std::vector<EngineRequest> reversed(requests.rbegin(), requests.rend());
  ExpectSameBits(RunAll(folder, {.max_sequences = 4, .max_step_tokens = 64}, 60, GetParam().dtype, reversed), wide);
}

TEST_P(EngineModelTest, DecodePrefillAndLearnerScoreWithTheSameBitsAsSampling) {
  const ModelFolder folder = Folder(GetParam().name);
  const StorageDType dtype = GetParam().dtype;
  std::vector<EngineRequest> requests = Requests(folder.config);
  for (EngineRequest& request : requests) request.sampling = {};
  const Outcome sampled = RunAll(folder, {}, 400, dtype, requests);
  std::vector<ScoreItem> items;
  std::vector<std::vector<float>> recorded;
  for (const auto& [key, completion] : sampled.completions) {
    items.push_back({requests[key.first - 100].prompt_ids, completion.token_ids});
    recorded.push_back(completion.logprobs);
  }
  items.push_back({{5, 6}, {}});
  recorded.push_back({});
  const auto expect_same = [&](ResponseScorer& scorer, const std::string& name) {
    const auto scores = scorer.Score(items);
    ASSERT_TRUE(scores.ok()) << scores.status();
    ASSERT_EQ(scores->size(), recorded.size());
    for (size_t i = 0; i < recorded.size(); ++i) EXPECT_EQ(Bits((*scores)[i]), Bits(recorded[i])) << name << " " << i;
  };
  for (const int batch : {1, 7, 32}) {
    const auto name = std::to_string(batch);
    const EngineOptions options{.max_sequences = batch, .max_step_tokens = 40};
    expect_same(*DecodeScorer(*Engine::Create(options, Runner(folder, 300, dtype))), "decode " + name);
    expect_same(*PrefillScorer(Runner(folder, 300, dtype), 3 * batch), "prefill " + name);
    expect_same(**LearnerScorer(folder, dtype, batch), "learner " + name);
  }
}

TEST(EngineTest, DrawsFollowTheDistributionTheyRecord) {
  // One prompt, many completions of one token: frequencies against the recorded probabilities.
  const ModelFolder folder = Folder("llama");
  EngineRequest request;
  request.prompt_ids = {5, 9, 2};
  request.seed = 3;
  request.num_completions = 4000;
  request.max_tokens = 1;
  const Outcome outcome = RunAll(folder, {}, 10, StorageDType::kFloat32, {request});
  std::map<TokenId, std::pair<int, float>> seen;
  for (const auto& [key, completion] : outcome.completions) {
    auto& [count, logprob] = seen[completion.token_ids[0]];
    ++count;
    logprob = completion.logprobs[0];
  }
  EXPECT_GT(seen.size(), 10u);
  double covered = 0;
  for (const auto& [token, entry] : seen) {
    const double p = std::exp(static_cast<double>(entry.second));
    covered += p;
    EXPECT_NEAR(entry.first / 4000.0, p, 5 * std::sqrt(p * (1 - p) / 4000.0)) << token;
  }
  EXPECT_LE(covered, 1.0001);
}

TEST(EngineTest, SwappedWeightsSampleFromTheNextStepOn) {
  const ModelFolder folder = Folder("llama");
  std::vector<float> parameters(folder.layout.total_numel);
  ASSERT_TRUE(LoadParameters(folder, parameters).ok());
  auto engine = *Engine::Create({}, Runner(folder, 40));
  EngineRequest request;
  request.prompt_ids = {5, 9, 2};
  request.max_tokens = 6;
  ASSERT_TRUE(engine->Add(request).ok());
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(engine->Step().ok());
  std::fill(parameters.begin(), parameters.end(), 0.0f);  // uniform logits from here on
  ASSERT_TRUE(engine->SwapWeights({2, 4}, parameters).ok());
  Completion completion;
  while (!engine->idle()) {
    auto finished = engine->Step();
    ASSERT_TRUE(finished.ok());
    if (!finished->empty()) completion = finished->front().completion;
  }
  EXPECT_EQ(completion.versions, (std::vector<VersionSpan>{{0, {}}, {3, {2, 4}}}));
  const float uniform = -std::log(static_cast<float>(folder.config.vocab_size));
  for (size_t t = 0; t < 6; ++t) EXPECT_EQ(std::abs(completion.logprobs[t] - uniform) < 1e-5f, t >= 3) << t;

  EXPECT_EQ(engine->SwapWeights({2, 5}, std::span(parameters).first(10)).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(engine->version(), (PolicyVersion{2, 4}));
}

TEST(EngineTest, RefusesACacheTooSmallForAnything) {
  const auto runner = CreateModelRunner(Folder("llama"), {.kv_cache_mib = 0});
  EXPECT_EQ(runner.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(runner.status().message()), ::testing::HasSubstr("actor.kv_cache_mib is 0"));
}

TEST(ScoreTest, NamesTheItemItCannotScore) {
  const ModelFolder folder = Folder("llama");
  const std::vector<ScoreItem> bad = {{{1}, {2}}, {{1, 2}, {static_cast<TokenId>(folder.config.vocab_size)}}};
  const auto prefill = PrefillScorer(Runner(folder, 10), 64)->Score(bad);
  EXPECT_THAT(std::string(prefill.status().message()), ::testing::HasSubstr("item 1"));
  const auto learner = (*LearnerScorer(folder, StorageDType::kFloat32, 4))->Score(bad);
  EXPECT_THAT(std::string(learner.status().message()), ::testing::HasSubstr("item 1"));
  const auto decode = DecodeScorer(*Engine::Create({}, Runner(folder, 10)))->Score(bad);
  EXPECT_THAT(std::string(decode.status().message()), ::testing::HasSubstr("request 1"));
  const std::vector<ScoreItem> empty = {{{}, {2}}};
  EXPECT_FALSE(PrefillScorer(Runner(folder, 10), 64)->Score(empty).ok());
  EXPECT_FALSE((*LearnerScorer(folder, StorageDType::kFloat32, 4))->Score(empty).ok());
}

}  // namespace
}  // namespace tactus
