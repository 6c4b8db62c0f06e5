#include "actor/engine/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "actor/engine/engine.h"
#include "tests/actor/engine/fake_model_runner.h"

namespace tactus {
namespace {

using testing::FakeModelRunner;
using ::testing::HasSubstr;
using testing::ReferenceCompletion;

constexpr int64_t kVocab = 50;
constexpr PolicyVersion kVersion{3, 7};

// An engine over the fake runner, with the runner still in reach.
struct Rig {
  explicit Rig(const EngineOptions& options, int32_t num_pages, int64_t max_position = 4096) {
    auto owned = std::make_unique<FakeModelRunner>(num_pages, kVocab, max_position);
    runner = owned.get();
    engine = *Engine::Create(options, std::move(owned));
    const float weights = 0;
    EXPECT_TRUE(engine->SwapWeights(kVersion, {&weights, 1}).ok());
  }

  // Steps until idle; at most `max_steps`.
  void Drain(int max_steps = 100000) {
    for (int i = 0; i < max_steps && !engine->idle(); ++i) Step();
    ASSERT_TRUE(engine->idle());
  }
  size_t Step() {
    auto finished = engine->Step();
    EXPECT_TRUE(finished.ok()) << finished.status();
    if (!finished.ok()) return 0;
    for (auto& one : *finished) {
      const auto key = std::make_pair(one.request_id, one.completion_index);
      EXPECT_TRUE(done.emplace(key, std::move(one.completion)).second) << "finished twice";
    }
    return finished->size();
  }

  FakeModelRunner* runner;
  std::unique_ptr<Engine> engine;
  std::map<std::pair<uint64_t, int>, Completion> done;
};

EngineRequest Request(uint64_t id, int prompt_tokens, int completions, int max_tokens) {
  EngineRequest request;
  request.request_id = id;
  request.prompt_id = id * 11 + 1;
  request.seed = 42;
  for (int i = 0; i < prompt_tokens; ++i) request.prompt_ids.push_back(static_cast<TokenId>((id * 7 + i * 3) % kVocab));
  request.num_completions = completions;
  request.max_tokens = max_tokens;
  return request;
}

void ExpectSame(const Completion& got, const Completion& want) {
  EXPECT_EQ(got.token_ids, want.token_ids);
  EXPECT_EQ(got.logprobs, want.logprobs);
  EXPECT_EQ(got.entropy, want.entropy);
  EXPECT_EQ(got.versions, want.versions);
  EXPECT_EQ(got.finish_reason, want.finish_reason);
}

void ExpectAllAsReference(const Rig& rig, const std::vector<EngineRequest>& requests) {
  size_t expected = 0;
  for (const EngineRequest& request : requests) {
    for (int i = 0; i < request.num_completions; ++i, ++expected) {
      const auto found = rig.done.find({request.request_id, i});
      ASSERT_NE(found, rig.done.end()) << "request " << request.request_id << " completion " << i;
      ExpectSame(found->second, ReferenceCompletion(request, i, kVocab, kVersion));
    }
  }
  EXPECT_EQ(rig.done.size(), expected);
}

TEST(SchedulerTest, PrefillsAPromptOnceForItsGroup) {
  Rig rig({.max_sequences = 8}, 64);
  const EngineRequest request = Request(1, 40, 8, 10);
  ASSERT_TRUE(rig.engine->Add(request).ok());
  rig.Drain();
  ExpectAllAsReference(rig, {request});
  const SchedulerStats stats = rig.engine->stats();
  EXPECT_EQ(stats.prefill_rows, 40);
  EXPECT_EQ(stats.decode_rows, 8 * 9);  // the first of 10 tokens comes from the prompt's last row
  EXPECT_EQ(stats.recomputed_rows, 0);
  EXPECT_EQ(stats.steps, 10);
  EXPECT_EQ(stats.free_pages, 64);
}

TEST(SchedulerTest, SharesFullPagesAndCopiesThePartialOne) {
  Rig rig({.max_sequences = 8}, 64);
  ASSERT_TRUE(rig.engine->Add(Request(1, 40, 8, 10)).ok());
  rig.Step();
  EXPECT_EQ(rig.engine->stats().free_pages, 64 - 3);
  rig.Step();
  EXPECT_EQ(rig.engine->stats().free_pages, 64 - 3 - 8);  // one private page each, the two full ones shared
}

TEST(SchedulerTest, CutsLongPromptsIntoPieces) {
  Rig rig({.max_sequences = 4, .max_step_tokens = 7}, 64);
  const std::vector<EngineRequest> requests = {Request(1, 61, 2, 5), Request(2, 33, 2, 5)};
  for (const auto& request : requests) ASSERT_TRUE(rig.engine->Add(request).ok());
  rig.Drain();
  ExpectAllAsReference(rig, requests);
  EXPECT_LE(rig.runner->max_rows(), 7);
}

TEST(SchedulerTest, DecodesEveryRunningSequenceInEachStepWhileAPromptIsPrefilled) {
  Rig rig({.max_sequences = 8, .max_step_tokens = 8}, 64);
  ASSERT_TRUE(rig.engine->Add(Request(1, 8, 4, 20)).ok());
  rig.Step();
  ASSERT_TRUE(rig.engine->Add(Request(2, 30, 4, 20)).ok());
  for (int i = 0; i < 7; ++i) {
    const int64_t before = rig.engine->stats().decode_rows;
    rig.Step();
    EXPECT_EQ(rig.engine->stats().decode_rows - before, 4);
  }
}

TEST(SchedulerTest, RefillsAFinishedSlotInTheNextStep) {
  Rig rig({.max_sequences = 2}, 64);
  const EngineRequest request = Request(1, 20, 6, 4);
  ASSERT_TRUE(rig.engine->Add(request).ok());
  rig.Step();
  int full_steps = 0;
  while (!rig.engine->idle()) {
    const int64_t before = rig.engine->stats().decode_rows;
    rig.Step();
    full_steps += rig.engine->stats().decode_rows - before == 2 ? 1 : 0;
  }
  EXPECT_EQ(full_steps, 9);  // 6 sequences x 3 decode rows over 2 slots, never an idle one
  ExpectAllAsReference(rig, {request});
}

TEST(SchedulerTest, StopsAtAStopTokenAndKeepsIt) {
  Rig rig({}, 64);
  EngineRequest request = Request(1, 20, 16, 200);
  request.stop_ids = {3, 17};
  ASSERT_TRUE(rig.engine->Add(request).ok());
  rig.Drain();
  ExpectAllAsReference(rig, {request});
  int stopped = 0;
  for (const auto& [key, completion] : rig.done) {
    if (completion.finish_reason != FinishReason::kStop) continue;
    ++stopped;
    EXPECT_TRUE(completion.token_ids.back() == 3 || completion.token_ids.back() == 17);
  }
  EXPECT_GT(stopped, 8);
}

TEST(SchedulerTest, PreemptsTheNewestFirstAndResamplesNothing) {
  // 4 sequences x (2 shared + up to 7 own pages) do not fit in 14 pages.
  Rig rig({.max_sequences = 4}, 14);
  const EngineRequest request = Request(1, 32, 4, 100);
  ASSERT_TRUE(rig.engine->Add(request).ok());
  std::vector<int> order;
  while (!rig.engine->idle()) {
    rig.Step();
    for (const auto& [key, completion] : rig.done) {
      if (std::find(order.begin(), order.end(), key.second) == order.end()) order.push_back(key.second);
    }
  }
  ExpectAllAsReference(rig, {request});
  const SchedulerStats stats = rig.engine->stats();
  EXPECT_GT(stats.preemptions, 0);
  EXPECT_GT(stats.recomputed_rows, 0);
  EXPECT_EQ(stats.decode_rows, 4 * 99);  // each token is drawn once, however often its keys are recomputed
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3}));
  EXPECT_EQ(stats.free_pages, 14);
}

TEST(SchedulerTest, WorksAtTheSmallestCacheARequestIsAllowed) {
  const EngineRequest request = Request(1, 33, 3, 32);  // 64 tokens computed = 4 pages, + the prefix's partial page
  Rig rig({.max_sequences = 3}, 5);
  ASSERT_TRUE(rig.engine->Add(request).ok());
  ASSERT_TRUE(rig.engine->Add(Request(2, 33, 3, 32)).ok());
  rig.Drain();
  ExpectAllAsReference(rig, {request, Request(2, 33, 3, 32)});
  EXPECT_EQ(rig.engine->stats().free_pages, 5);
}

TEST(SchedulerTest, ForcedTokensAreFedNotDrawn) {
  Rig rig({.max_sequences = 3}, 64);
  std::vector<EngineRequest> requests;
  for (int i = 0; i < 9; ++i) {
    EngineRequest request = Request(i, 5 + i * 3, 1, 0);
    for (int t = 0; t < 10 + i; ++t) request.forced_ids.push_back((i + t * t) % kVocab);
    request.stop_ids = {request.forced_ids[2]};  // has no effect
    requests.push_back(request);
    ASSERT_TRUE(rig.engine->Add(request).ok());
  }
  rig.Drain();
  ExpectAllAsReference(rig, requests);
}

TEST(SchedulerTest, SwappedWeightsOpenAVersionSpan) {
  Rig rig({.max_sequences = 2}, 64);
  ASSERT_TRUE(rig.engine->Add(Request(1, 10, 3, 12)).ok());
  for (int i = 0; i < 4; ++i) rig.Step();  // first token and three more for two sequences
  const float weights = 9;
  const PolicyVersion next{3, 8};
  ASSERT_TRUE(rig.engine->SwapWeights(next, {&weights, 1}).ok());
  rig.Drain();
  using Spans = std::vector<VersionSpan>;
  EXPECT_EQ((rig.done.at({1, 0}).versions), (Spans{{0, kVersion}, {4, next}}));
  EXPECT_EQ((rig.done.at({1, 1}).versions), (Spans{{0, kVersion}, {4, next}}));
  EXPECT_EQ((rig.done.at({1, 2}).versions), (Spans{{0, kVersion}, {1, next}}));
  EXPECT_EQ(rig.done.at({1, 0}).token_ids.size(), 12u);
}

TEST(SchedulerTest, CancelFreesEverythingOfARequest) {
  Rig rig({.max_sequences = 3, .max_step_tokens = 16}, 40);
  const EngineRequest kept = Request(2, 30, 4, 20);
  ASSERT_TRUE(rig.engine->Add(Request(1, 50, 4, 20)).ok());
  ASSERT_TRUE(rig.engine->Add(kept).ok());
  ASSERT_TRUE(rig.engine->Add(Request(3, 30, 4, 20)).ok());
  for (int i = 0; i < 9; ++i) rig.Step();
  ASSERT_TRUE(rig.engine->Cancel(1).ok());  // running
  ASSERT_TRUE(rig.engine->Cancel(3).ok());  // waiting
  EXPECT_EQ(rig.engine->Cancel(1).code(), absl::StatusCode::kNotFound);
  rig.Drain();
  ExpectAllAsReference(rig, {kept});
  EXPECT_EQ(rig.engine->stats().free_pages, 40);
}

TEST(SchedulerTest, RefusesWhatCouldNeverRun) {
  Rig rig({.max_sequences = 2, .max_waiting_groups = 2}, 8, 200);
  const auto error = [&](EngineRequest request) { return std::string(rig.engine->Add(request).message()); };
  EngineRequest bad = Request(1, 0, 1, 5);
  EXPECT_THAT(error(bad), HasSubstr("prompt_ids is empty"));
  bad = Request(1, 4, 1, 5);
  bad.prompt_ids[2] = kVocab;
  EXPECT_THAT(error(bad), HasSubstr("prompt_ids[2] is 50"));
  bad.prompt_ids[2] = -1;
  EXPECT_THAT(error(bad), HasSubstr("prompt_ids[2] is -1"));
  EXPECT_THAT(error(Request(1, 4, 0, 5)), HasSubstr("num_completions is 0"));
  EXPECT_THAT(error(Request(1, 4, 1 << 24, 5)), HasSubstr("num_completions"));
  EXPECT_THAT(error(Request(1, 4, 1, 0)), HasSubstr("max_tokens is 0"));
  EXPECT_THAT(error(Request(1, 4, 1, 300)), HasSubstr("200 positions"));
  EXPECT_THAT(error(Request(1, 100, 1, 60)), HasSubstr("raise actor.kv_cache_mib"));
  bad = Request(1, 4, 1, 5);
  bad.sampling.temperature = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(error(bad), HasSubstr("temperature >= 0"));
  bad = Request(1, 4, 1, 5);
  bad.forced_ids = {1, 99};
  EXPECT_THAT(error(bad), HasSubstr("forced_ids[1] is 99"));
  ASSERT_TRUE(rig.engine->Add(Request(1, 4, 1, 5)).ok());
  EXPECT_EQ(rig.engine->Add(Request(1, 4, 1, 5)).code(), absl::StatusCode::kAlreadyExists);
  ASSERT_TRUE(rig.engine->Add(Request(2, 4, 1, 5)).ok());
  EXPECT_EQ(rig.engine->Add(Request(3, 4, 1, 5)).code(), absl::StatusCode::kResourceExhausted);
}

TEST(SchedulerTest, RefusesOptionsThatCannotWork) {
  const auto message = [](const EngineOptions& options, int32_t pages) {
    return std::string(Engine::Create(options, std::make_unique<FakeModelRunner>(pages, 5, 10)).status().message());
  };
  EXPECT_THAT(message({.max_sequences = 0}, 9), HasSubstr("actor.max_sequences is 0"));
  EXPECT_THAT(message({.max_sequences = 8, .max_step_tokens = 7}, 9), HasSubstr("actor.max_step_tokens is 7"));
  EXPECT_THAT(message({}, 1), HasSubstr("actor.kv_cache_mib"));
}

// Random loads under random limits: everything must come out as the reference says, and every page come back.
TEST(SchedulerTest, ResultsNeverDependOnLimitsOrLoad) {
  std::mt19937 random(3);
  const auto upto = [&](int low, int high) { return low + static_cast<int>(random() % (high - low + 1)); };
  int64_t preemptions = 0, drops = 0;
  for (int round = 0; round < 200; ++round) {
    std::vector<EngineRequest> requests;
    int64_t most_pages = 0;
    for (int i = upto(1, 8); i > 0; --i) {
      EngineRequest request = Request(i, upto(1, 70), upto(1, 6), upto(1, 60));
      if (upto(0, 2) == 0) request.stop_ids = {static_cast<TokenId>(upto(0, kVocab - 1))};
      const int64_t tokens = static_cast<int64_t>(request.prompt_ids.size()) + request.max_tokens;
      most_pages = std::max(most_pages, (tokens + 15) / 16 + 1);
      requests.push_back(request);
    }
    const int sequences = upto(1, 9);
    const int32_t num_pages = static_cast<int32_t>(most_pages) + upto(0, 12);
    Rig rig({.max_sequences = sequences, .max_step_tokens = sequences + upto(0, 40)}, num_pages);
    size_t added = 0;
    while (added < requests.size() || !rig.engine->idle()) {
      if (added < requests.size() && upto(0, 3) == 0) {
        ASSERT_TRUE(rig.engine->Add(requests[added++]).ok());
      }
      rig.Step();
      ASSERT_LT(rig.runner->steps(), 20000) << "no progress in round " << round;
    }
    ExpectAllAsReference(rig, requests);
    EXPECT_EQ(rig.engine->stats().free_pages, num_pages);
    preemptions += rig.engine->stats().preemptions;
    drops += rig.engine->stats().prefix_drops;
  }
  EXPECT_GT(preemptions, 100);
  EXPECT_GT(drops, 0);
}

}  // namespace
}  // namespace tactus
