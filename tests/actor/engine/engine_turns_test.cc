// Conversations on a real (tiny) model: log-probs of all turns are the learner's, to the last bit, also where the pages
// of a waiting sequence were given back and computed again.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "actor/engine/engine.h"
#include "common/data/turns.h"
#include "tests/actor/engine/run_all.h"
#include "tests/model/golden_models.h"
#include "tools/batch/score.h"

namespace tactus {
namespace {

constexpr int kMaxTurns = 3;

EngineRequest Conversation(int id, const ModelConfig& config) {
  std::mt19937 random(static_cast<uint32_t>(id));
  EngineRequest request;
  request.request_id = static_cast<uint64_t>(id);
  request.prompt_id = static_cast<uint64_t>(id);
  request.seed = 5;
  for (int i = 0; i < 3 + 9 * id; ++i) {
    request.prompt_ids.push_back(static_cast<TokenId>(random() % static_cast<uint64_t>(config.vocab_size)));
  }
  request.num_completions = 3;
  request.max_tokens = 70;
  request.max_turn_tokens = 9;
  request.stop_ids = {1, 2, 3};
  return request;
}

std::vector<TokenId> Words(const EndedTurn& turn, int64_t vocab) {
  std::vector<TokenId> words;
  for (int i = 0; i < 3 + turn.token_ids.back() % 17; ++i) {
    words.push_back(static_cast<TokenId>((turn.token_ids.front() + 7 * i) % vocab));
  }
  return words;
}

// Words may be too many for what is left: then it ends.
Outcome Converse(const ModelFolder& folder, StorageDType dtype, const EngineOptions& options, int64_t pages,
                 const std::vector<EngineRequest>& requests) {
  auto engine = *Engine::Create(options, *CreateModelRunner(folder, {.weights_dtype = dtype, .max_pages = pages}));
  return tactus::Converse(*engine, requests, [&](const EndedTurn& turn) -> std::vector<TokenId> {
    std::vector<TokenId> words = Words(turn, folder.config.vocab_size);
    if (turn.number == kMaxTurns || static_cast<int>(words.size()) >= turn.tokens_left) return {};
    return words;
  });
}

class EngineTurnsTest : public ::testing::TestWithParam<GoldenModel> {};
INSTANTIATE_TEST_SUITE_P(Models, EngineTurnsTest, ::testing::ValuesIn(GoldenModels()),
                         [](const auto& one) { return one.param.name; });

TEST_P(EngineTurnsTest, AllTurnsHaveTheLearnersLogProbsAlsoAfterPagesWereDropped) {
  const ModelFolder folder = *OpenModelFolder(GoldenModelPath(GetParam().name));
  const StorageDType dtype = GetParam().dtype;
  std::vector<EngineRequest> requests;
  for (int id = 0; id < 4; ++id) requests.push_back(Conversation(id, folder.config));
  const Outcome wide = Converse(folder, dtype, {.max_sequences = 32, .max_step_tokens = 512}, 400, requests);
  EXPECT_EQ(wide.stats.waiting_drops, 0);
  EXPECT_EQ(wide.stats.recomputed_rows, 0);
  const Outcome starved = Converse(folder, dtype, {.max_sequences = 5, .max_step_tokens = 11}, 12, requests);
  EXPECT_GT(starved.stats.waiting_drops, 0);
  EXPECT_GT(starved.stats.recomputed_rows, 0);
  ExpectSameBits(starved, wide);

  std::vector<ScoreItem> items;
  std::vector<std::vector<Turn>> turns;
  std::vector<std::vector<float>> recorded;
  size_t several = 0;
  for (const auto& [key, completion] : wide.completions) {
    items.push_back({requests[key.first].prompt_ids, completion.token_ids});
    turns.push_back(completion.turns);
    several += completion.turns.size() > 1 ? 1 : 0;
    recorded.push_back(OfSampled(completion.turns, std::span<const float>(completion.logprobs)));
    EXPECT_EQ(completion.turns, starved.completions.at(key).turns);
  }
  EXPECT_EQ(items.size(), 12u);
  EXPECT_GT(several, 6u);
  const auto scores = (*LearnerScorer(folder, dtype, 5))->Score(items);
  ASSERT_TRUE(scores.ok()) << scores.status();
  for (size_t i = 0; i < items.size(); ++i) {
    EXPECT_EQ(Bits(OfSampled(turns[i], std::span<const float>((*scores)[i]))), Bits(recorded[i])) << i;
  }
}

}  // namespace
}  // namespace tactus
