// The flow of attention (common/rhythm/flow.h) from rows that the engine keeps while it decodes: against float64
// goldens of whole forward passes and against all heads' rows, and the same bits whatever the batch, the chunks or
// preemption do.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "actor/engine/engine.h"
#include "common/rhythm/flow.h"
#include "tests/actor/engine/fake_model_runner.h"
#include "tests/actor/engine/run_all.h"
#include "tests/model/golden_models.h"
#include "tests/rhythm/flow_reference.h"
#include "tests/tree.h"

namespace tactus {
namespace {

using Json = nlohmann::json;

constexpr int64_t kWholeRow = 1 << 16;

ModelFolder Folder(const std::string& name) {
  ModelFolder folder = *OpenModelFolder(GoldenModelPath(name));
  folder.config.max_position = 2048;  // the tiny models' own limit is 512; rotary positions have none
  return folder;
}

EngineOptions WithFlow(EngineOptions options, int64_t entries) {
  options.probe = {.layers = {0, 1},
                   .window_tokens = 10,
                   .horizon_min_tokens = 10,
                   .horizon_max_tokens = 100,
                   .flow_row_entries = entries};
  return options;
}

std::vector<Json> Goldens(const std::string& family) {
  std::ifstream in(SourcePath("tests/goldens/rhythm/") + family + ".jsonl");
  std::vector<Json> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(Json::parse(line));
  return lines;
}

EngineRequest Forced(const Json& golden, uint64_t id) {
  EngineRequest request;
  request.request_id = id;
  request.prompt_ids = golden.at("prompt_ids").get<std::vector<TokenId>>();
  request.forced_ids = golden.at("response_ids").get<std::vector<TokenId>>();
  request.measure_rhythm = true;
  return request;
}

TokenRange LastTokens(int64_t tokens) { return {std::max<int64_t>(0, tokens - 8), tokens}; }

// [N][P + N] float64 means over `heads` of what a meter kept whole.
std::vector<std::vector<double>> MeanRows(const std::vector<std::vector<float>>& attention, int64_t prompt,
                                          const std::vector<int32_t>& heads) {
  const auto tokens = static_cast<int64_t>(attention.size());
  std::vector<std::vector<double>> mean(attention.size(), std::vector<double>(static_cast<size_t>(prompt + tokens)));
  for (int64_t t = 0; t < tokens; ++t) {
    const int64_t stride = ((prompt + t) / kPageTokens + 1) * kPageTokens;
    for (const int32_t head : heads) {
      for (int64_t j = 0; j <= prompt + t; ++j) {
        mean[static_cast<size_t>(t)][static_cast<size_t>(j)] +=
            double{attention[static_cast<size_t>(t)][static_cast<size_t>(head * stride + j)]} /
            static_cast<double>(heads.size());
      }
    }
  }
  return mean;
}

class FlowGoldenTest : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Families, FlowGoldenTest, ::testing::ValuesIn(FamilyModels()),
                         [](const auto& one) { return one.param; });

// 1 to 1,000 tokens in one ragged batch with a cache in which they do not all fit: throughput of every token by the
// mean of all heads, the last 8 tokens being the answer. End to end in float32, so within 1e-4; from the same rows of
// attention it is 1e-5 (below).
TEST_P(FlowGoldenTest, AgreesWithFloat64) {
  const std::vector<Json> goldens = Goldens(GetParam());
  ASSERT_EQ(goldens.size(), 8u);
  std::vector<EngineRequest> requests;
  for (size_t i = 0; i < 2 * goldens.size(); ++i) requests.push_back(Forced(goldens[i % 8], i));
  const Outcome outcome = RunAll(Folder(GetParam()), WithFlow({.max_sequences = 16, .max_step_tokens = 64}, kWholeRow),
                                 90, StorageDType::kFloat32, requests);
  EXPECT_GT(outcome.stats.preemptions, 0);
  for (size_t i = 0; i < requests.size(); ++i) {
    SCOPED_TRACE(goldens[i % 8].at("id"));
    const FlowRows& rows = outcome.flows.at({i, 0});
    const auto expected = goldens[i % 8].at("flow").get<std::vector<double>>();
    ASSERT_EQ(rows.tokens(), static_cast<int64_t>(expected.size()));
    const Flow flow = TraceFlow(rows, LastTokens(rows.tokens()));
    EXPECT_EQ(flow.discarded, 0);
    for (size_t t = 0; t < expected.size(); ++t) {
      EXPECT_NEAR(flow.throughput[t + static_cast<size_t>(rows.prompt_tokens)], expected[t], 1e-4 * expected[t]) << t;
    }
  }
}

// A subset of heads, whose rows alone are kept, against the float64 mean of theirs among all heads' rows: 1 to 1,000
// tokens.
TEST(EngineFlowTest, IsTheMeanOfItsHeads) {
  const HeadClasses classes{.local = {0}, .global = {1, 4, 6}};
  for (const char* family : {"llama", "qwen3", "olmo2"}) {
    const ModelFolder folder = Folder(family);
    for (const Json& golden : Goldens(family)) {
      SCOPED_TRACE(golden.at("id"));
      EngineRequest request = Forced(golden, 0);
      const auto run = [&](bool keep_attention) {
        request.keep_attention = keep_attention;
        auto engine =
            *Engine::Create(WithFlow({.max_sequences = 1}, kWholeRow), *CreateModelRunner(folder, {.max_pages = 80}));
        engine->UseFlowHeads(&classes);
        return RunAll(*engine, {request});
      };
      const Outcome whole = run(true);
      const FlowRows rows = run(false).flows.at({0, 0});
      EXPECT_EQ(rows.positions, whole.flows.at({0, 0}).positions);
      EXPECT_EQ(rows.weights, whole.flows.at({0, 0}).weights);
      const TokenRange answer = LastTokens(rows.tokens());
      const Flow flow = TraceFlow(rows, answer);
      const auto mean = MeanRows(whole.attention.at({0, 0}), rows.prompt_tokens, classes.global);
      const reference::DenseFlow dense = reference::FlowOf(mean, rows.prompt_tokens, answer);
      for (size_t i = 0; i < dense.throughput.size(); ++i) {
        EXPECT_NEAR(flow.throughput[i], dense.throughput[i], 1e-5 * dense.throughput[i]) << i;
        EXPECT_NEAR(flow.reach[i], dense.reach[i], 1e-5 * dense.reach[i]) << i;
      }
    }
  }
}

std::vector<EngineRequest> SampledRequests(const ModelConfig& config) {
  std::mt19937 random(17);
  std::vector<EngineRequest> requests;
  for (uint64_t i = 0; i < 6; ++i) {
    EngineRequest request;
    request.request_id = request.prompt_id = i;
    request.seed = 5;
    request.prompt_ids.resize(1 + random() % 40);
    for (TokenId& id : request.prompt_ids) id = static_cast<TokenId>(random() % config.vocab_size);
    request.num_completions = 1 + static_cast<int>(i % 4);  // which share the prompt's pages
    request.max_tokens = i == 0 ? 1 : 40 + static_cast<int>(i);
    request.stop_ids = {1, 2};
    request.measure_rhythm = true;
    requests.push_back(std::move(request));
  }
  return requests;
}

TEST(EngineFlowTest, DoesNotDependOnBatchChunksOrPreemption) {
  const ModelFolder folder = Folder("llama");
  const std::vector<EngineRequest> requests = SampledRequests(folder.config);
  const auto run = [&](EngineOptions options, int64_t pages) {
    return RunAll(folder, WithFlow(std::move(options), 6), pages, StorageDType::kFloat32, requests);
  };
  const Outcome wide = run({.max_sequences = 32, .max_step_tokens = 512}, 400);
  const Outcome starved = run({.max_sequences = 7, .max_step_tokens = 11}, 9);
  EXPECT_GT(starved.stats.preemptions, 0);
  const Outcome alone = run({.max_sequences = 1, .max_step_tokens = 3}, 20);
  for (const auto& [key, rows] : wide.flows) {
    EXPECT_EQ(rows.tokens(), static_cast<int64_t>(wide.completions.at(key).token_ids.size()));
    EXPECT_LE(rows.positions.size(), 6 * static_cast<size_t>(rows.tokens()));
    for (const Outcome* other : {&starved, &alone}) {
      const FlowRows& again = other->flows.at(key);
      EXPECT_EQ(again.row_starts, rows.row_starts) << key.first << "/" << key.second;
      EXPECT_EQ(again.positions, rows.positions) << key.first << "/" << key.second;
      EXPECT_EQ(again.weights, rows.weights) << key.first << "/" << key.second;
      EXPECT_EQ(again.discarded, rows.discarded) << key.first << "/" << key.second;
    }
  }
  for (const auto& [key, sums] : run({.max_sequences = 4}, 400).sums) EXPECT_EQ(sums.waad, wide.sums.at(key).waad);
}

TEST(EngineFlowTest, KeepingRowsChangesNothingElse) {
  const ModelFolder folder = Folder("llama");
  const std::vector<EngineRequest> requests = SampledRequests(folder.config);
  const auto run = [&](int64_t entries) {
    return RunAll(folder, WithFlow({.max_sequences = 8}, entries), 100, StorageDType::kFloat32, requests);
  };
  const Outcome plain = run(0);
  ExpectSameBits(run(5), plain);
  EXPECT_EQ(plain.flows.at({0, 0}).tokens(), 0);
}

// Heads that are set between two steps are those of the rows that follow.
TEST(EngineFlowTest, HeadsBelongToTheRowThatIsRead) {
  const ModelFolder folder = Folder("llama");
  const EngineRequest request = Forced(Goldens("llama")[5], 0);  // 57 tokens
  const HeadClasses first{.local = {0}, .global = {2}}, second{.local = {0}, .global = {5, 7}};
  const auto run = [&](const HeadClasses& before, const HeadClasses& after) {
    auto engine = *Engine::Create(WithFlow({.max_sequences = 1}, 8), *CreateModelRunner(folder, {.max_pages = 40}));
    engine->UseFlowHeads(&before);
    EXPECT_TRUE(engine->Add(request).ok());
    FlowRows rows;
    for (int step = 0; !engine->idle(); ++step) {
      if (step == 21) engine->UseFlowHeads(&after);  // step 0 reads the prompt, step k row k - 1
      const auto finished = engine->Step();
      EXPECT_TRUE(finished.ok()) << finished.status();
      if (finished.ok() && !finished->empty()) rows = finished->front().rhythm->flow_rows();
    }
    return rows;
  };
  const auto row = [](const FlowRows& rows, size_t t) {
    const auto begin = rows.weights.begin() + rows.row_starts[t], end = rows.weights.begin() + rows.row_starts[t + 1];
    return std::vector<float>(begin, end);
  };
  const FlowRows one = run(first, first), other = run(second, second), mixed = run(first, second);
  for (size_t t = 0; t < 57; ++t) EXPECT_EQ(row(mixed, t), row(t < 20 ? one : other, t)) << t;
  EXPECT_NE(row(one, 30), row(other, 30));
}

class PlainRunner final : public testing::FakeModelRunner {
 public:
  using FakeModelRunner::FakeModelRunner;
  bool FillsEveryTap() const override { return false; }
};

TEST(EngineFlowTest, IsRefusedWhereTheDeviceCannot) {
  EngineOptions options = WithFlow({}, 4);
  options.probe.layers = {0};
  const auto create = [&] { return Engine::Create(options, std::make_unique<PlainRunner>(40, 100, 200)).status(); };
  EXPECT_EQ(create().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(create().message(), "credit.strategy: FLOW is measured on a CPU only: expected actor.device: \"cpu\".");
  options.probe.flow_row_entries = 0;
  EXPECT_TRUE(create().ok());
  options.probe.ignore_first_token = true;
  EXPECT_EQ(create().message(), "credit.ignore_first_token is measured on a CPU only: expected actor.device: \"cpu\".");
}

}  // namespace
}  // namespace tactus
