// Conversations in the scheduler: turns end and wait, go on behind tokens of others, and what a sequence gets does not
// depend on how long it waited, what it lost meanwhile, or who else was there.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "actor/engine/engine.h"
#include "common/data/turns.h"
#include "tests/actor/engine/fake_model_runner.h"

namespace tactus {
namespace {

using testing::FakeDraw;
using testing::FakeModelRunner;
using ::testing::HasSubstr;

constexpr int64_t kVocab = 50;
constexpr PolicyVersion kVersion{3, 7};
constexpr int kMaxTurns = 4;

EngineRequest Conversation(uint64_t id, int prompt_tokens, int completions, int max_tokens, int max_turn_tokens) {
  EngineRequest request;
  request.request_id = id;
  request.prompt_id = id * 11 + 1;
  request.seed = 42;
  for (int i = 0; i < prompt_tokens; ++i) request.prompt_ids.push_back(static_cast<TokenId>((id * 7 + i * 3) % kVocab));
  request.num_completions = completions;
  request.max_tokens = max_tokens;
  request.max_turn_tokens = max_turn_tokens;
  request.stop_ids = {4, 9, 13};
  return request;
}

// What the environment says: some tokens that follow from the turn, as many as its tokens tell.
std::vector<TokenId> Words(const std::vector<TokenId>& turn) {
  int64_t sum = 0;
  for (const TokenId id : turn) sum += id;
  std::vector<TokenId> words;
  for (int64_t i = 0; i < 1 + sum % 23; ++i) words.push_back(static_cast<TokenId>((sum + 5 * i) % kVocab));
  return words;
}

bool IsLast(int number, int tokens_left, size_t words) {
  return number == kMaxTurns || tokens_left <= static_cast<int>(words);
}

// The conversation, computed without engine, scheduler or cache.
Completion Reference(const EngineRequest& request, int index) {
  Completion out;
  out.versions = {{0, kVersion}};
  std::vector<TokenId> tokens = request.prompt_ids;
  while (true) {
    Turn turn{.start_token = static_cast<int>(out.token_ids.size())};
    for (bool ended = false; !ended;) {
      ops::SamplingParams params;
      params.uniform = UniformDouble(TokenDraw(request.seed, request.prompt_id, index,
                                               static_cast<uint32_t>(out.token_ids.size()), DrawPurpose::kSampling));
      const ops::SampledToken drawn = FakeDraw(tokens, params, -1, kVocab, 0);
      tokens.push_back(drawn.token);
      out.token_ids.push_back(drawn.token);
      out.logprobs.push_back(drawn.logprob);
      out.entropy.push_back(drawn.entropy);
      ++turn.num_tokens;
      const bool stop = std::ranges::count(request.stop_ids, drawn.token) > 0;
      out.finish_reason = stop ? FinishReason::kStop : FinishReason::kLength;
      ended = stop || turn.num_tokens == request.max_turn_tokens ||
              static_cast<int>(out.token_ids.size()) == request.max_tokens;
    }
    out.turns.push_back(turn);
    const std::vector<TokenId> said(out.token_ids.begin() + turn.start_token, out.token_ids.end());
    const std::vector<TokenId> words = Words(said);
    const int left = request.max_tokens - static_cast<int>(out.token_ids.size());
    if (IsLast(static_cast<int>(out.turns.size()), left, words.size())) return out;
    for (const TokenId id : words) {
      tokens.push_back(id);
      out.token_ids.push_back(id);
      out.logprobs.push_back(0);
      out.entropy.push_back(0);
    }
  }
}

struct Rig {
  Rig(const EngineOptions& options, int32_t num_pages) {
    engine = *Engine::Create(options, std::make_unique<FakeModelRunner>(num_pages, kVocab, 4096));
    const float weights = 0;
    EXPECT_TRUE(engine->SwapWeights(kVersion, {&weights, 1}).ok());
  }

  void Answer(const EndedTurn& turn) {
    const std::vector<TokenId> words = Words(turn.token_ids);
    if (!IsLast(turn.number, turn.tokens_left, words.size())) {
      EXPECT_TRUE(engine->Continue(turn.request_id, turn.completion_index, words).ok());
      return;
    }
    absl::StatusOr<FinishedCompletion> one = engine->Conclude(turn.request_id, turn.completion_index);
    ASSERT_TRUE(one.ok()) << one.status();
    const std::pair key{turn.request_id, turn.completion_index};
    if (one->rhythm != nullptr) sums[key] = one->rhythm->Finish();
    done[key] = std::move(one->completion);
  }

  // Steps until all is done; replies come in an order and after steps that `random` decides.
  void Run(std::mt19937 random, int slowness) {
    std::deque<EndedTurn> unanswered;
    for (int step = 0; step < 200'000; ++step) {
      auto finished = engine->Step();
      ASSERT_TRUE(finished.ok()) << finished.status();
      EXPECT_TRUE(finished->empty()) << "a conversation ended by itself";
      for (EndedTurn& turn : engine->TakeEndedTurns()) unanswered.push_back(std::move(turn));
      if (unanswered.empty() && engine->idle()) return;
      if (unanswered.empty() || (random() % static_cast<uint32_t>(slowness) != 0 && !engine->idle())) continue;
      std::swap(unanswered.front(), unanswered[random() % unanswered.size()]);
      Answer(unanswered.front());
      unanswered.pop_front();
    }
    FAIL() << "it does not end";
  }

  std::unique_ptr<Engine> engine;
  std::map<std::pair<uint64_t, int>, Completion> done;
  std::map<std::pair<uint64_t, int>, HeadSums> sums;
};

void ExpectAsReference(const Rig& rig, const std::vector<EngineRequest>& requests) {
  size_t expected = 0;
  for (const EngineRequest& request : requests) {
    for (int i = 0; i < request.num_completions; ++i, ++expected) {
      const auto found = rig.done.find({request.request_id, i});
      ASSERT_NE(found, rig.done.end()) << "request " << request.request_id << " completion " << i;
      const Completion want = Reference(request, i);
      EXPECT_EQ(found->second.token_ids, want.token_ids) << request.request_id << "/" << i;
      EXPECT_EQ(found->second.logprobs, want.logprobs);
      EXPECT_EQ(found->second.entropy, want.entropy);
      EXPECT_EQ(found->second.turns, want.turns);
      EXPECT_EQ(found->second.versions, want.versions);
      EXPECT_EQ(found->second.finish_reason, want.finish_reason);
    }
  }
  EXPECT_EQ(rig.done.size(), expected);
  EXPECT_EQ(rig.engine->stats().free_pages, rig.engine->stats().num_pages) << "pages leak";
  EXPECT_EQ(rig.engine->stats().waiting_turns, 0);
}

std::vector<EngineRequest> Many() {
  std::vector<EngineRequest> requests;
  for (int id = 1; id <= 6; ++id) requests.push_back(Conversation(id, 5 + 13 * id, 1 + id % 4, 90 + id, 7 + 2 * id));
  return requests;
}

TEST(SchedulerTurnsTest, KeepsThePagesOfAWaitingSequenceAndComputesNothingTwice) {
  Rig rig({.max_sequences = 8}, 64);
  const EngineRequest request = Conversation(1, 20, 2, 80, 10);
  ASSERT_TRUE(rig.engine->Add(request).ok());
  rig.Run(std::mt19937(1), 1);
  ExpectAsReference(rig, {request});
  const SchedulerStats stats = rig.engine->stats();
  EXPECT_EQ(stats.recomputed_rows, 0);
  EXPECT_EQ(stats.waiting_drops, 0);
  int64_t rows = 20;  // what was read: all but the last token of each
  for (const auto& [key, completion] : rig.done) {
    EXPECT_GT(completion.turns.size(), 1u);
    rows += static_cast<int64_t>(completion.token_ids.size()) - 1;
  }
  EXPECT_EQ(stats.prefill_rows + stats.decode_rows, rows);
}

TEST(SchedulerTurnsTest, IsIdleWhileAllThatIsLeftWaits) {
  Rig rig({.max_sequences = 8}, 64);
  ASSERT_TRUE(rig.engine->Add(Conversation(1, 20, 1, 80, 3)).ok());
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(rig.engine->Step().ok());
  EXPECT_TRUE(rig.engine->idle());
  const std::vector<EndedTurn> turns = rig.engine->TakeEndedTurns();
  ASSERT_EQ(turns.size(), 1u);
  EXPECT_EQ(turns[0].number, 1);
  EXPECT_EQ(rig.engine->stats().waiting_turns, 1);
  EXPECT_TRUE(rig.engine->TakeEndedTurns().empty());
  ASSERT_TRUE(rig.engine->Add(Conversation(2, 20, 1, 80, 3)).ok());
  EXPECT_FALSE(rig.engine->idle()) << "another request has work";
  EXPECT_EQ(rig.engine->Continue(1, 0, {}).code(), absl::StatusCode::kInvalidArgument);
  ASSERT_TRUE(rig.engine->Cancel(1).ok());
  ASSERT_TRUE(rig.engine->Cancel(2).ok());
  EXPECT_TRUE(rig.engine->idle());
  EXPECT_EQ(rig.engine->stats().waiting_turns, 0);
  EXPECT_EQ(rig.engine->stats().free_pages, 64);
}

TEST(SchedulerTurnsTest, OthersTakeThePlaceOfThoseThatWait) {
  Rig rig({.max_sequences = 2}, 64);
  ASSERT_TRUE(rig.engine->Add(Conversation(1, 20, 2, 80, 3)).ok());
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(rig.engine->Step().ok());
  ASSERT_EQ(rig.engine->stats().waiting_turns, 2);
  EngineRequest plain = Conversation(2, 20, 2, 12, 0);
  plain.stop_ids.clear();
  ASSERT_TRUE(rig.engine->Add(plain).ok());
  size_t finished = 0;
  while (!rig.engine->idle()) finished += rig.engine->Step()->size();
  EXPECT_EQ(finished, 2u) << "answers that are no conversations end while the others wait";
}

TEST(SchedulerTurnsTest, ResultsDoNotDependOnPagesOrOnWhenRepliesCome) {
  const std::vector<EngineRequest> requests = Many();
  int64_t drops = 0, preemptions = 0, prefix_drops = 0;
  for (const int pages : {400, 60, 24, 14}) {
    for (const int slowness : {1, 3, 40}) {
      for (uint32_t seed = 0; seed < 6; ++seed) {
        Rig rig({.max_sequences = 5, .max_step_tokens = 16}, pages);
        for (const EngineRequest& request : requests) ASSERT_TRUE(rig.engine->Add(request).ok());
        rig.Run(std::mt19937(seed), slowness);
        ExpectAsReference(rig, requests);
        if (HasFatalFailure()) return;
        drops += rig.engine->stats().waiting_drops;
        preemptions += rig.engine->stats().preemptions;
        prefix_drops += rig.engine->stats().prefix_drops;
      }
    }
  }
  EXPECT_GT(drops, 100) << "no page was given back by one that waited: the test says nothing";
  EXPECT_GT(preemptions, 10);
  EXPECT_GT(prefix_drops, 10);
}

// Each token of the model's has its row measured once, none of the environment's has, and nothing else is different.
TEST(SchedulerTurnsTest, MeasuresTheModelsRowsOnce) {
  std::vector<EngineRequest> requests = Many();
  for (EngineRequest& request : requests) request.measure_rhythm = true;
  requests[1].max_turn_tokens = 1;  // so that a turn ends with the prompt's own draw
  int64_t drops = 0, preemptions = 0;
  for (const int pages : {400, 24, 15}) {
    for (uint32_t seed = 0; seed < 12; ++seed) {
      Rig rig({.max_sequences = 5, .max_step_tokens = 16, .probe = {.layers = {0}}}, pages);
      for (const EngineRequest& request : requests) ASSERT_TRUE(rig.engine->Add(request).ok());
      rig.Run(std::mt19937(seed), seed % 3 == 0 ? 1 : seed % 3 == 1 ? 3 : 40);
      ExpectAsReference(rig, requests);
      if (HasFailure()) return;
      int64_t turns = 0;
      for (const auto& [key, completion] : rig.done) {
        turns += static_cast<int64_t>(completion.turns.size());
        const HeadSums& sums = rig.sums.at(key);
        ASSERT_EQ(sums.places, PlacesOf(completion.turns, completion.token_ids.size()));
        ASSERT_EQ(sums.num_tokens, SampledTokens(completion));
        for (int64_t head = 0; head < testing::kFakeHeads; ++head) {
          const auto number = static_cast<float>(head + 1);
          EXPECT_EQ(sums.span_sum[static_cast<size_t>(head)], number * static_cast<float>(sums.num_tokens));
          for (int64_t i = 0; i < sums.num_tokens; ++i) {
            const int32_t place = sums.places[static_cast<size_t>(i)];
            ASSERT_EQ(sums.waad[static_cast<size_t>(head * sums.num_tokens + i)],
                      number * static_cast<float>(place % 4));
          }
        }
      }
      EXPECT_EQ(rig.engine->stats().final_rows, turns);
      drops += rig.engine->stats().waiting_drops;
      preemptions += rig.engine->stats().preemptions;
    }
  }
  EXPECT_GT(drops, 20);
  EXPECT_GT(preemptions, 5);
}

TEST(SchedulerTurnsTest, OnePageTableIsEnoughForAnyNumberThatWaits) {
  // As many pages as one sequence needs at most: nobody can keep anything while another runs.
  const std::vector<EngineRequest> requests = {Conversation(1, 40, 3, 60, 6), Conversation(2, 40, 3, 60, 6)};
  Rig rig({.max_sequences = 4}, 8);
  for (const EngineRequest& request : requests) ASSERT_TRUE(rig.engine->Add(request).ok());
  rig.Run(std::mt19937(5), 10);
  ExpectAsReference(rig, requests);
}

TEST(SchedulerTurnsTest, RefusesWhatCannotGoOn) {
  Rig rig({.max_sequences = 8}, 64);
  ASSERT_TRUE(rig.engine->Add(Conversation(1, 20, 1, 20, 3)).ok());
  const std::vector<TokenId> word = {5}, foreign = {50}, many(19, 5);
  EXPECT_EQ(rig.engine->Continue(1, 0, word).code(), absl::StatusCode::kNotFound) << "it has said nothing yet";
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(rig.engine->Step().ok());
  EXPECT_EQ(rig.engine->Continue(2, 0, word).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(rig.engine->Continue(1, 1, word).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(rig.engine->Conclude(1, -1).status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(rig.engine->Continue(1, 0, foreign).message()), HasSubstr("token 50"));
  EXPECT_THAT(std::string(rig.engine->Continue(1, 0, many).message()), HasSubstr("no room in max_tokens = 20"));
  EXPECT_TRUE(rig.engine->Continue(1, 0, word).ok());
  EXPECT_EQ(rig.engine->Continue(1, 0, word).code(), absl::StatusCode::kNotFound) << "it goes on already";
  EngineRequest forced = Conversation(3, 4, 1, 9, 3);
  forced.forced_ids = {1};
  const auto error = [&] { return std::string(rig.engine->Add(forced).message()); };
  EXPECT_THAT(error(), HasSubstr("turn by turn, or not at all"));
  forced.forced_ids = {1, 2, 3, 4, 5};
  forced.max_tokens = 5;
  forced.forced_turn_tokens = {2, 0};
  EXPECT_THAT(error(), HasSubstr("a forced turn has 0 tokens"));
  forced.forced_turn_tokens = {2, 3};
  EXPECT_THAT(error(), HasSubstr("forced turns with 6 tokens and max_tokens = 5 do not fit 5 forced_ids"));
  forced.forced_turn_tokens = {2, 2};
  forced.max_tokens = 6;
  EXPECT_THAT(error(), HasSubstr("max_tokens = 6 do not fit 5"));
  forced.max_turn_tokens = 0;
  EXPECT_THAT(error(), HasSubstr("max_turn_tokens is 0"));
}

TEST(SchedulerTurnsTest, ATurnAfterASwapIsTheNewVersions) {
  Rig rig({.max_sequences = 8}, 64);
  EngineRequest request = Conversation(1, 20, 1, 20, 3);
  request.stop_ids.clear();
  ASSERT_TRUE(rig.engine->Add(request).ok());
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(rig.engine->Step().ok());
  const float weights = 9;
  ASSERT_TRUE(rig.engine->SwapWeights({3, 8}, {&weights, 1}).ok());
  const std::vector<TokenId> words = {5, 6};
  ASSERT_TRUE(rig.engine->Continue(1, 0, words).ok());
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(rig.engine->Step().ok());
  const Completion completion = rig.engine->Conclude(1, 0)->completion;
  const std::vector<VersionSpan> spans = {{0, kVersion}, {5, {3, 8}}};
  EXPECT_EQ(completion.versions, spans) << "from the first token on that it sampled";
}

}  // namespace
}  // namespace tactus
