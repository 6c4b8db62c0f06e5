// The engine's part of the studies on a real (tiny) model, against every token's log-prob from the scorer.
#include "tools/study/study_runs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "actor/engine/load_engine.h"
#include "tests/tree.h"
#include "tools/study/study_perturb.h"

namespace tactus {
namespace {

const ModelFolder& Folder() {
  static const ModelFolder* const kFolder = new ModelFolder(*OpenModelFolder(SourcePath("tests/goldens/models/llama")));
  return *kFolder;
}

CreditAssigner ToTheEnd() { return *CreditAssigner::FromOverrides({"credit.horizon_max_tokens=0"}); }

std::unique_ptr<Engine> MakeEngine() {
  EngineSetup setup;
  setup.engine.max_sequences = 8;
  setup.engine.probe = *ToTheEnd().Probe(Folder().config.num_layers, Folder().config.num_heads);
  return *LoadEngine(Folder(), setup);
}

// All tokens after `before`, the most likely first.
std::vector<TokenId> ByLikelihood(const std::vector<TokenId>& before) {
  static const std::unique_ptr<ResponseScorer> scorer = PrefillScorer(*LoadRunner(Folder(), EngineSetup{}), 512);
  const auto vocab = static_cast<TokenId>(Folder().config.vocab_size);
  std::vector<ScoreItem> items;
  for (TokenId id = 0; id < vocab; ++id) items.push_back({before, {id}});
  const auto logprobs = *scorer->Score(items);
  std::vector<TokenId> ids(items.size());
  for (TokenId id = 0; id < vocab; ++id) ids[id] = id;
  std::stable_sort(ids.begin(), ids.end(), [&](TokenId a, TokenId b) { return logprobs[a][0] > logprobs[b][0]; });
  return ids;
}

std::vector<Place> Places() {
  std::vector<Place> places;
  for (TokenId i = 0; i < 12; ++i) places.push_back({{5, 9, 20 + i, 3, static_cast<TokenId>(7 * i + 1)}, 0});
  return places;
}

TEST(RunnersUpTest, AreTheOtherOneOfTheTwoMostLikely) {
  const auto engine = MakeEngine();
  std::vector<Place> places = Places();
  std::vector<TokenId> expected;
  for (size_t i = 0; i < places.size(); ++i) {
    const std::vector<TokenId> ids = ByLikelihood(places[i].before);
    // The first, the second, or neither stands there.
    places[i].token = ids[i % 3];
    expected.push_back(i % 3 == 0 ? ids[1] : i % 3 == 1 ? ids[0] : std::min(ids[0], ids[1]));
  }
  EXPECT_EQ(*RunnersUp(*engine, places, 1), expected);
  EXPECT_EQ(*RunnersUp(*engine, places, 2), expected) << "the draws do not matter";
}

TEST(GreedyContinuationsTest, TakeTheMostLikelyUntilAStop) {
  const auto engine = MakeEngine();
  std::vector<Place> places = Places();
  places.resize(4);
  for (Place& place : places) place.token = 11;
  const auto free = *GreedyContinuations(*engine, places, 5, {});
  for (size_t i = 0; i < places.size(); ++i) {
    std::vector<TokenId> before = places[i].before, expected;
    before.push_back(11);
    for (int t = 0; t < 5; ++t) {
      expected.push_back(ByLikelihood(before).front());
      before.push_back(expected.back());
    }
    EXPECT_EQ(free[i], expected);
  }
  const auto stopped = *GreedyContinuations(*engine, places, 5, {free[2][1]});
  EXPECT_LE(stopped[2].size(), 2u);
}

TEST(SampleResponsesTest, KeepsThePromptsOrder) {
  const auto engine = MakeEngine();
  std::vector<std::vector<TokenId>> prompts;
  for (TokenId i = 0; i < 20; ++i) prompts.push_back({i, 4});
  GenerateOptions options;
  options.samples = 2;
  options.max_tokens = 6;
  options.sampling.temperature = 0;
  const std::vector<ScoreItem> items = *SampleResponses(*engine, prompts, options);
  ASSERT_EQ(items.size(), 40u);
  for (size_t i = 0; i < items.size(); ++i) {
    EXPECT_EQ(items[i].prompt_ids, prompts[i / 2]);
    ASSERT_EQ(items[i].response_ids.size(), 6u);
    EXPECT_EQ(items[i].response_ids.front(), ByLikelihood(items[i].prompt_ids).front());
  }
}

class WordTokenizer : public Tokenizer {
 public:
  std::vector<TokenId> Encode(absl::string_view, bool) const override { return {}; }
  absl::StatusOr<std::string> Decode(std::span<const TokenId> ids, bool) const override {
    std::string text;
    for (const TokenId id : ids) absl::StrAppend(&text, "w", id / 2, " ");  // two ids to a word
    return text;
  }
  int vocab_size() const override { return 160; }
  TokenId TokenToId(absl::string_view) const override { return -1; }
};

std::vector<MeasuredResponse> Responses(Engine& engine) {
  std::vector<std::vector<TokenId>> prompts;
  for (TokenId i = 0; i < 10; ++i) prompts.push_back({i, 4, static_cast<TokenId>(90 - i)});
  GenerateOptions options;
  options.max_tokens = 60;
  options.sampling.temperature = 0.7f;  // greedily, the tiny model goes round in circles
  return *MeasureResponses(engine, ToTheEnd(), *SampleResponses(engine, prompts, options), nullptr, 0);
}

// One peak a response, by other hands: the places from ProbePositions, everything after them worked out here.
TEST(PerturbTest, ComparesWhatFollowsWithTheResponsesOwnRest) {
  const auto engine = MakeEngine();
  const std::vector<MeasuredResponse> responses = Responses(*engine);
  const PerturbOptions options = {.peaks_per_response = 1, .continue_tokens = 8};
  const PerturbResult result = *Perturb(*engine, WordTokenizer(), responses, options);
  double tokens[2] = {}, words[2] = {}, place = 0, entropy = 0;
  int count = 0;
  for (const MeasuredResponse& one : responses) {
    const auto fai = std::span(one.rhythm.fai).first(one.rhythm.eligible.size());
    const ProbedPositions probed = ProbePositions(fai, 60 - 8, 1, options.peak_quantile);
    if (probed.peaks.empty()) continue;
    ++count;
    const int32_t positions[2] = {probed.peaks[0], probed.matched[0]};
    place += positions[0];
    entropy += one.completion.entropy[positions[1]];
    for (int side = 0; side < 2; ++side) {
      const std::vector<TokenId>& ids = one.item.response_ids;
      const auto at = ids.begin() + positions[side];
      Place changed{one.item.prompt_ids, 0};
      changed.before.insert(changed.before.end(), ids.begin(), at);
      const std::vector<TokenId> likely = ByLikelihood(changed.before);
      changed.token = *at == likely[0] ? likely[1] : *at == likely[1] ? likely[0] : std::min(likely[0], likely[1]);
      const std::vector<TokenId> rest(at + 1, at + 9);
      const std::vector<TokenId> other = GreedyContinuations(*engine, {&changed, 1}, 8, {})->front();
      tokens[side] += TokenJaccard(rest, other);
      words[side] += WordJaccard(*WordTokenizer().Decode(rest, true), *WordTokenizer().Decode(other, true));
    }
  }
  ASSERT_GE(count, 5);
  EXPECT_EQ(result.matched.tokens.responses, count);
  EXPECT_EQ(result.no_runner_up, 0);
  EXPECT_EQ(result.stops, 0);
  EXPECT_NEAR(result.matched.tokens.high.value, tokens[0] / count, 1e-12);
  EXPECT_NEAR(result.matched.tokens.low.value, tokens[1] / count, 1e-12);
  EXPECT_NEAR(result.matched.words.high.value, words[0] / count, 1e-12);
  EXPECT_NEAR(result.matched.words.low.value, words[1] / count, 1e-12);
  EXPECT_NEAR(result.matched.high_place, place / count, 1e-12);
  EXPECT_NEAR(result.matched.low_entropy, entropy / count, 1e-6);
  EXPECT_NE(result.matched.words.high.value, result.matched.tokens.high.value);
}

TEST(PerturbTest, NothingLongEnough) {
  const auto engine = MakeEngine();
  const std::vector<MeasuredResponse> responses = Responses(*engine);
  const PerturbResult result = *Perturb(*engine, WordTokenizer(), responses, {.continue_tokens = 60});
  EXPECT_EQ(result.places, 0);
  EXPECT_EQ(result.matched.words.responses, 0);
}

// Every token stops: nothing can be replaced, and it is said why.
TEST(PerturbTest, ARunnerUpThatStopsIsCounted) {
  const auto engine = MakeEngine();
  const std::vector<MeasuredResponse> responses = Responses(*engine);
  PerturbOptions options = {.peaks_per_response = 1, .continue_tokens = 8};
  for (TokenId id = 0; id < 160; ++id) options.stop_ids.push_back(id);
  const PerturbResult result = *Perturb(*engine, WordTokenizer(), responses, options);
  EXPECT_EQ(result.places, 0);
  EXPECT_GE(result.stops, 10);
  EXPECT_EQ(result.lowest.words.responses, 0);
}

}  // namespace
}  // namespace tactus
