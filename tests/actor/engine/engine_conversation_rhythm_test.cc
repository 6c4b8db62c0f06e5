// The attention rhythm of conversations: against float64 goldens and against whole rows of attention, of which the
// model's tokens alone count; and the same bits where pages were given back between the turns and computed again.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "actor/engine/engine.h"
#include "common/data/turns.h"
#include "common/rhythm/flow.h"
#include "common/rhythm/rhythm.h"
#include "tests/actor/engine/rhythm_goldens.h"
#include "tests/actor/engine/run_all.h"
#include "tests/rhythm/flow_reference.h"
#include "tests/rhythm/reference.h"
#include "tools/batch/rhythm_jsonl.h"

namespace tactus {
namespace {

constexpr StorageDType kFloat32 = StorageDType::kFloat32;
constexpr int kMaxTurns = 4;
constexpr int64_t kWholeRow = 1 << 16;

Outcome Talk(const ModelFolder& folder, const EngineOptions& options, int64_t pages, StorageDType dtype,
             const std::vector<EngineRequest>& requests,
             const std::function<std::vector<TokenId>(const EndedTurn&)>& reply) {
  auto engine = *Engine::Create(options, *CreateModelRunner(folder, {.weights_dtype = dtype, .max_pages = pages}));
  return Converse(*engine, requests, reply);
}

// ---- against float64 ------------------------------------------------------------------------------------------------

class ConversationGoldenTest : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Families, ConversationGoldenTest, ::testing::ValuesIn(FamilyModels()),
                         [](const auto& one) { return one.param; });

std::vector<EngineRequest> GreedyRequests(const std::vector<Json>& goldens) {
  std::vector<EngineRequest> requests;
  for (size_t i = 0; i < goldens.size(); ++i) {
    EngineRequest request;
    request.request_id = i;
    request.prompt_ids = goldens[i].at("prompt_ids").get<std::vector<TokenId>>();
    request.num_completions = 4;  // which say the same, from shared pages
    request.sampling.temperature = 0;
    request.stop_ids = goldens[i].at("stop_ids").get<std::vector<TokenId>>();
    request.max_turn_tokens = goldens[i].at("max_turn_tokens").get<int>();
    request.max_tokens = goldens[i].at("places").back().get<int>() + 2;  // one more than it has
    request.measure_rhythm = true;
    requests.push_back(std::move(request));
  }
  return requests;
}

// Three to five turns of 1 to 26 tokens with 1 to 110 of the environment's between them, in a cache of one page more
// than the longest needs: pages are given back while sequences wait and computed again. The same limits as for single
// answers.
TEST_P(ConversationGoldenTest, AgreesWithFloat64AlsoAfterPagesWereDropped) {
  const std::vector<Json> goldens = Goldens("conversations/" + GetParam());
  ASSERT_EQ(goldens.size(), 3u);
  const ModelFolder folder = Folder(GetParam());
  const auto reply = [&](const EndedTurn& turn) -> std::vector<TokenId> {
    const Json& golden = goldens[turn.request_id];
    const auto number = static_cast<size_t>(turn.number) - 1;
    EXPECT_EQ(turn.token_ids, golden.at("turns").at(number).get<std::vector<TokenId>>()) << golden.at("id");
    if (number == golden.at("words").size()) return {};
    return golden.at("words").at(number).get<std::vector<TokenId>>();
  };
  EngineOptions options = WithProbe({.max_sequences = 4, .max_step_tokens = 24}, {0, 1});
  options.probe.flow_row_entries = kWholeRow;
  const std::vector<EngineRequest> requests = GreedyRequests(goldens);
  int64_t pages = 0;
  for (const EngineRequest& request : requests) {
    const int64_t tokens = static_cast<int64_t>(request.prompt_ids.size()) + request.max_tokens;
    pages = std::max(pages, (tokens + kPageTokens - 1) / kPageTokens + 2);
  }
  const Outcome outcome = Talk(folder, options, pages, kFloat32, requests, reply);
  EXPECT_GT(outcome.stats.waiting_drops, 0);
  EXPECT_GT(outcome.stats.recomputed_rows, 0);
  ASSERT_EQ(outcome.completions.size(), 12u);
  for (const auto& [key, completion] : outcome.completions) {
    const Json& golden = goldens[key.first];
    SCOPED_TRACE(golden.at("id"));
    EXPECT_GE(completion.turns.size(), 3u);
    EXPECT_EQ(PlacesOf(completion.turns, completion.token_ids.size()), golden.at("places").get<std::vector<int32_t>>());
    const Rhythm rhythm = ComputeRhythm(outcome.sums.at(key), Options());
    EXPECT_EQ(rhythm.eligible, golden.at("eligible").get<std::vector<int32_t>>());
    CheckRhythm(golden, rhythm, folder.config.num_heads);
    CheckGammas(golden, rhythm, OfSampled(completion.turns, std::span<const float>(completion.entropy)));
    const FlowRows& rows = outcome.flows.at(key);
    const Turn& last = completion.turns.back();
    const int64_t tokens = rows.response_tokens();
    const Flow flow = TraceFlow(rows, {std::max<int64_t>(last.start_token, tokens - 8), tokens});
    const auto expected = golden.at("flow").get<std::vector<double>>();
    ASSERT_EQ(expected.size(), rhythm.places.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      const auto at = static_cast<size_t>(rows.prompt_tokens + rhythm.places[i]);
      EXPECT_NEAR(flow.throughput[at], expected[i], 1e-4 * expected[i]) << i;
    }
  }
}

// ---- against whole rows, of any dtype -------------------------------------------------------------------------------

std::vector<EngineRequest> SampledConversations(const ModelConfig& config, bool measured) {
  std::vector<EngineRequest> requests;
  for (int id = 0; id < 4; ++id) {
    std::mt19937 random(static_cast<uint32_t>(id));
    EngineRequest request;
    request.request_id = request.prompt_id = static_cast<uint64_t>(id);
    request.seed = 5;
    request.prompt_ids.resize(static_cast<size_t>(3 + 9 * id));
    for (TokenId& token : request.prompt_ids) token = static_cast<TokenId>(random() % config.vocab_size);
    request.num_completions = 3;
    request.max_tokens = 110;
    request.max_turn_tokens = 16;
    request.stop_ids = {1, 2, 3, 4};
    request.measure_rhythm = request.keep_attention = measured;
    requests.push_back(std::move(request));
  }
  return requests;
}

std::vector<TokenId> Words(const EndedTurn& turn, int64_t vocab) {
  std::vector<TokenId> words;
  const int count = 1 + turn.token_ids.back() % 23;
  if (turn.number == kMaxTurns || count >= turn.tokens_left) return {};
  for (int i = 0; i < count; ++i) words.push_back(static_cast<TokenId>((turn.token_ids.front() + 7 * i) % vocab));
  return words;
}

// [H, T, P + T] as the meter kept it: the environment's rows are missing and stay 0.
reference::Attention Kept(const std::vector<std::vector<float>>& rows, const Completion& completion, int64_t prompt,
                          int64_t heads) {
  const auto tokens = static_cast<int64_t>(completion.token_ids.size());
  reference::Attention attention = reference::EmptyAttention(heads, prompt, tokens);
  attention.sampled = PlacesOf(completion.turns, completion.token_ids.size());
  EXPECT_EQ(rows.size(), attention.sampled.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    const int64_t t = attention.sampled[i], stride = ((prompt + t) / kPageTokens + 1) * kPageTokens;
    EXPECT_EQ(rows[i].size(), static_cast<size_t>(heads * stride));
    for (int64_t head = 0; head < heads; ++head) {
      double mass = 0;
      for (int64_t j = 0; j <= prompt + t; ++j) {
        attention.At(head, t, j) = double{rows[i][static_cast<size_t>(head * stride + j)]};
        mass += attention.At(head, t, j);
      }
      EXPECT_NEAR(mass, 1, 1e-5) << "row " << t << " head " << head;
    }
  }
  return attention;
}

void ExpectAsReference(const Rhythm& got, const Rhythm& want) {
  const double window = static_cast<double>(Options().window_tokens);
  EXPECT_EQ(got.places, want.places);
  EXPECT_EQ(got.heads, want.heads);
  EXPECT_EQ(got.eligible, want.eligible);
  ASSERT_EQ(got.waad.size(), want.waad.size());
  for (size_t i = 0; i < want.waad.size(); ++i) {
    EXPECT_NEAR(got.waad[i], want.waad[i], 1e-5 * window) << i;
    EXPECT_NEAR(got.delta[i], want.delta[i], 1e-5 * window) << i;
    EXPECT_NEAR(got.fai[i], want.fai[i], 1e-5 * want.fai[i]) << i;
  }
  for (size_t head = 0; head < want.span.size(); ++head) {
    EXPECT_NEAR(got.span[head], want.span[head], 1e-5 * want.span[head]) << head;
  }
}

class ConversationRhythmTest : public ::testing::TestWithParam<GoldenModel> {};
INSTANTIATE_TEST_SUITE_P(Models, ConversationRhythmTest, ::testing::ValuesIn(GoldenModels()),
                         [](const auto& one) { return one.param.name; });

TEST_P(ConversationRhythmTest, IsThatOfWholeRowsAlsoAfterPagesWereDropped) {
  const ModelFolder folder = Folder(GetParam().name);
  const StorageDType dtype = GetParam().dtype;
  const std::vector<EngineRequest> requests = SampledConversations(folder.config, /*measured=*/true);
  const auto reply = [&](const EndedTurn& turn) { return Words(turn, folder.config.vocab_size); };
  const auto talk = [&](EngineOptions options, int64_t pages) {
    options = WithProbe(std::move(options), {0, 1});
    options.probe.flow_row_entries = kWholeRow;
    return Talk(folder, options, pages, dtype, requests, reply);
  };
  const Outcome wide = talk({.max_sequences = 32, .max_step_tokens = 512}, 400);
  EXPECT_EQ(wide.stats.recomputed_rows, 0);
  const Outcome starved = talk({.max_sequences = 5, .max_step_tokens = 11}, 14);
  EXPECT_GT(starved.stats.waiting_drops, 0);
  EXPECT_GT(starved.stats.recomputed_rows, 50);
  ExpectSameBits(starved, wide);
  EXPECT_EQ(starved.attention, wide.attention);
  size_t several = 0;
  for (const auto& [key, completion] : wide.completions) {
    SCOPED_TRACE(testing::Message() << "conversation " << key.first << "/" << key.second);
    several += completion.turns.size() >= 3 ? 1 : 0;
    const int64_t prompt = static_cast<int64_t>(requests[key.first].prompt_ids.size());
    const int64_t heads = 2 * folder.config.num_heads;
    const reference::Attention kept = Kept(wide.attention.at(key), completion, prompt, heads);
    ExpectAsReference(ComputeRhythm(wide.sums.at(key), Options()), reference::FullMatrixRhythm(kept, Options()));

    std::vector<std::vector<double>> mean(completion.token_ids.size(), std::vector<double>(prompt + kept.tokens));
    std::vector<bool> others(completion.token_ids.size(), true);
    for (const int32_t t : kept.sampled) {
      others[t] = false;
      for (int64_t j = 0; j < prompt + t; ++j) {
        for (int64_t head = 0; head < heads; ++head) mean[t][j] += kept.At(head, t, j) / static_cast<double>(heads);
      }
    }
    const TokenRange answer{kept.tokens - 1, kept.tokens};
    const Flow flow = TraceFlow(wide.flows.at(key), answer);
    const reference::DenseFlow dense = reference::FlowOf(mean, prompt, answer, others);
    for (size_t i = 0; i < dense.throughput.size(); ++i) {
      EXPECT_NEAR(flow.throughput[i], dense.throughput[i], 1e-5 * dense.throughput[i]) << i;
    }
  }
  EXPECT_GT(several, 6u);
}

TEST(ConversationMeasuringTest, ChangesNoTokenAndNoLogProb) {
  const ModelFolder folder = Folder("qwen3");
  const auto reply = [&](const EndedTurn& turn) { return Words(turn, folder.config.vocab_size); };
  const auto talk = [&](bool measured) {
    return Talk(folder, WithProbe({.max_sequences = 8}, {0, 1}), 100, kFloat32,
                SampledConversations(folder.config, measured), reply);
  };
  const Outcome measured = talk(true), plain = talk(false);
  int64_t turns = 0;
  for (const auto& [key, completion] : plain.completions) {
    const Completion& other = measured.completions.at(key);
    EXPECT_EQ(other.token_ids, completion.token_ids);
    EXPECT_EQ(Bits(other.logprobs), Bits(completion.logprobs));
    EXPECT_EQ(other.turns, completion.turns);
    turns += static_cast<int64_t>(completion.turns.size());
  }
  EXPECT_TRUE(plain.sums.empty());
  EXPECT_EQ(plain.stats.final_rows, 0);
  EXPECT_EQ(measured.stats.final_rows, turns) << "one more row a turn, which reads its last token";
}

// As `tactus rhythm` measures one: fed turn by turn, with room for two of them at once.
TEST(ConversationMeasuringTest, AGivenConversationHasTheBitsOfTheOneThatWasSampled) {
  const ModelFolder folder = Folder("qwen3");
  EngineOptions options = WithProbe({.max_sequences = 8}, {0, 1});
  options.probe.flow_row_entries = kWholeRow;
  const std::vector<EngineRequest> requests = SampledConversations(folder.config, /*measured=*/true);
  const Outcome said = Talk(folder, options, 100, kFloat32, requests,
                            [&](const EndedTurn& turn) { return Words(turn, folder.config.vocab_size); });
  std::vector<ScoreItem> items;
  std::vector<std::pair<uint64_t, int>> keys;
  size_t several = 0;
  for (const auto& [key, completion] : said.completions) {
    keys.push_back(key);
    items.push_back(
        {requests[key.first].prompt_ids, completion.token_ids,
         TurnsAt(PlacesOf(completion.turns, completion.token_ids.size()), completion.token_ids.size()).value()});
    EXPECT_EQ(items.back().turns.size(), completion.turns.size());
    several += completion.turns.size() > 1 ? 1 : 0;
  }
  EXPECT_GT(several, 6u);
  const CreditAssigner credit = *CreditAssigner::FromOverrides({"credit.strategy=COUPLED"});
  options.max_sequences = 2;
  auto engine = *Engine::Create(options, *CreateModelRunner(folder, {.weights_dtype = kFloat32, .max_pages = 40}));
  const auto given =
      MeasureResponses(*engine, credit, items, /*head_classes=*/nullptr, /*keep_attention_bytes=*/1 << 30);
  ASSERT_TRUE(given.ok()) << given.status();
  for (size_t i = 0; i < keys.size(); ++i) {
    const Completion& completion = said.completions.at(keys[i]);
    const MeasuredResponse& response = (*given)[i];
    EXPECT_EQ(response.completion.token_ids, completion.token_ids);
    ASSERT_EQ(response.completion.turns.size(), completion.turns.size());
    EXPECT_EQ(Bits(response.completion.logprobs), Bits(completion.logprobs)) << i;
    EXPECT_EQ(Bits(response.completion.entropy), Bits(completion.entropy)) << i;
    const Rhythm rhythm = ComputeRhythm(said.sums.at(keys[i]), credit.rhythm_options());
    EXPECT_EQ(response.rhythm.places, rhythm.places);
    EXPECT_EQ(response.rhythm.waad, rhythm.waad);
    EXPECT_EQ(response.rhythm.delta, rhythm.delta);
    EXPECT_EQ(response.rhythm.fai, rhythm.fai);
    EXPECT_EQ(response.rhythm.span, rhythm.span);
    const FlowRows& rows = said.flows.at(keys[i]);
    const Turn& last = completion.turns.back();
    const int64_t tokens = rows.response_tokens();
    const Flow flow = TraceFlow(rows, {std::max<int64_t>(last.start_token, tokens - 8), tokens});
    EXPECT_EQ(response.flow.throughput, flow.throughput);
    const std::vector<bool> others = [&] {
      std::vector<bool> all(completion.token_ids.size(), true);
      for (const int32_t place : rhythm.places) all[static_cast<size_t>(place)] = false;
      return all;
    }();
    for (const NamedWeights& one : AllWeights(credit.params(), response)) {
      ASSERT_EQ(one.weights.size(), others.size());
      for (size_t t = 0; t < others.size(); ++t) EXPECT_EQ(one.weights[t] == 0, others[t]) << one.strategy << " " << t;
    }
    EXPECT_TRUE(response.meter->attention().empty());
  }
}

// A turn that ended before a swap is the old weights' to its last row; the environment's words are read by the new
// ones.
TEST(ConversationMeasuringTest, ATurnsLastRowBelongsToItsWeights) {
  const ModelFolder folder = Folder("llama");
  std::vector<EngineRequest> requests = SampledConversations(folder.config, /*measured=*/true);
  requests.resize(1);
  requests[0].num_completions = 1;
  requests[0].stop_ids.clear();
  const auto talk = [&](bool swap) {
    auto engine =
        *Engine::Create(WithProbe({.max_sequences = 1}, {0, 1}), *CreateModelRunner(folder, {.max_pages = 40}));
    return Converse(*engine, requests, [&](const EndedTurn& turn) -> std::vector<TokenId> {
      if (turn.number == 2) return {};
      const std::vector<float> other(static_cast<size_t>(folder.layout.total_numel), 0.01f);
      EXPECT_TRUE(!swap || engine->SwapWeights({.incarnation = 0, .step = 1}, other).ok());
      return {7, 8, 9};
    });
  };
  const Outcome same = talk(false), swapped = talk(true);
  EXPECT_EQ(swapped.completions.at({0, 0}).versions.size(), 2u);
  const HeadSums &old = same.sums.at({0, 0}), &mixed = swapped.sums.at({0, 0});
  ASSERT_EQ(mixed.num_tokens, 32);
  for (int64_t head = 0; head < mixed.num_heads; ++head) {
    for (int64_t i = 0; i < 32; ++i) {
      const auto at = static_cast<size_t>(head * 32 + i);
      EXPECT_EQ(mixed.waad[at] == old.waad[at], i < 16) << head << " " << i;
    }
  }
}

}  // namespace
}  // namespace tactus
