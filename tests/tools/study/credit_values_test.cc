// V by sampling, on a real (tiny) model: against the model's own probabilities, and by what a judge was shown.
#include "tools/study/credit_values.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>

#include "absl/strings/str_cat.h"
#include "actor/engine/load_engine.h"
#include "tests/tree.h"
#include "tools/batch/score.h"

namespace tactus {
namespace {

using ::testing::ElementsAre;

const ModelFolder& Folder() {
  static const ModelFolder* const kFolder = new ModelFolder(*OpenModelFolder(SourcePath("tests/goldens/models/llama")));
  return *kFolder;
}

std::unique_ptr<Engine> MakeEngine(int max_sequences = 8) {
  EngineSetup setup;
  setup.engine.max_sequences = max_sequences;
  return *LoadEngine(Folder(), setup);
}

class NumberTokenizer : public Tokenizer {
 public:
  std::vector<TokenId> Encode(absl::string_view, bool) const override { return {}; }
  absl::StatusOr<std::string> Decode(std::span<const TokenId> ids, bool) const override {
    std::string text;
    for (const TokenId id : ids) absl::StrAppend(&text, id, " ");
    return text;
  }
  int vocab_size() const override { return 160; }
  TokenId TokenToId(absl::string_view) const override { return -1; }
};

// What an answer is worth goes by its last token: a quarter of what is left of its id by four.
double WorthOf(TokenId last) { return (last % 4) / 4.0; }

class LastTokenJudge : public Judge {
 public:
  absl::StatusOr<std::vector<Reward>> Score(const Question& question, std::span<const Answer> answers,
                                            absl::Time) override {
    if (fail) return absl::UnavailableError("away");
    asked.push_back(question.text);
    std::vector<Reward> rewards;
    for (const Answer& answer : answers) {
      seen.emplace_back(answer.token_ids.begin(), answer.token_ids.end());
      rewards.emplace_back().total = WorthOf(answer.token_ids.back());
    }
    return rewards;
  }
  std::vector<std::string> asked;
  std::vector<std::vector<TokenId>> seen;
  bool fail = false;
};

constexpr int kMaxTokens = 6;
ValueOptions Options() { return {.samples = 4, .max_tokens = kMaxTokens, .seed = 3}; }
Prompt OneTwo() { return {.id = 0, .token_ids = {1, 2}, .answer_key_json = "{}"}; }

AnsweredQuestion Answered(Engine& engine, Judge& judge, uint64_t row = 5, const ValueOptions& options = Options()) {
  return *AnswerQuestion(engine, NumberTokenizer(), judge, OneTwo(), row, options);
}

std::vector<PrefixValue> Values(Engine& engine, Judge& judge, const AnsweredQuestion& question,
                                const std::vector<int32_t>& lengths, const ValueOptions& options = Options()) {
  return *PrefixValues(engine, NumberTokenizer(), judge, question, lengths, options);
}

TEST(AnswerQuestionTest, IsOneJudgedAnswerThatTheRowKeys) {
  const auto engine = MakeEngine();
  LastTokenJudge judge;
  const AnsweredQuestion question = Answered(*engine, judge);
  EXPECT_EQ(question.answer.token_ids.size(), size_t{kMaxTokens});
  EXPECT_EQ(question.answer.reward.total, WorthOf(question.answer.token_ids.back()));
  EXPECT_THAT(judge.asked, ElementsAre("1 2 "));
  EXPECT_EQ(Answered(*engine, judge).answer.token_ids, question.answer.token_ids);
  EXPECT_NE(Answered(*engine, judge, 6).answer.token_ids, question.answer.token_ids);
  ValueOptions other = Options();
  other.seed = 4;
  EXPECT_NE(Answered(*engine, judge, 5, other).answer.token_ids, question.answer.token_ids);
}

// One token is left to draw, so V is a sum over the vocabulary.
TEST(PrefixValuesTest, AreTheMeanOverWhatTheModelMaySay) {
  const auto engine = MakeEngine();
  LastTokenJudge judge;
  const AnsweredQuestion question = Answered(*engine, judge);
  std::vector<TokenId> before = OneTwo().token_ids;
  before.insert(before.end(), question.answer.token_ids.begin(), question.answer.token_ids.end() - 1);
  std::vector<ScoreItem> items;
  items.reserve(static_cast<size_t>(Folder().config.vocab_size));
  for (TokenId id = 0; id < static_cast<TokenId>(Folder().config.vocab_size); ++id) items.push_back({before, {id}});
  const auto scorer = PrefillScorer(*LoadRunner(Folder(), EngineSetup{}), 512);
  const std::vector<std::vector<float>> logprobs = *scorer->Score(items);
  double mean = 0, square = 0;
  for (size_t id = 0; id < items.size(); ++id) {
    const double chance = std::exp(logprobs[id][0]), worth = WorthOf(static_cast<TokenId>(id));
    mean += chance * worth, square += chance * worth * worth;
  }
  ValueOptions options = Options();
  options.samples = 2000;
  const PrefixValue value = Values(*engine, judge, question, {kMaxTokens - 1}, options)[0];
  const double error = std::sqrt((square - mean * mean) / options.samples);
  ASSERT_GT(error, 0.001) << "the rewards differ";
  EXPECT_NEAR(value.mean, mean, 3.5 * error);
  EXPECT_NEAR(value.first, mean, 3.5 * error * std::sqrt(2));
  EXPECT_NEAR(value.second, mean, 3.5 * error * std::sqrt(2));
  EXPECT_NE(value.first, value.second) << "the halves are drawn apart";
  EXPECT_DOUBLE_EQ(value.mean, (value.first + value.second) / 2);
}

TEST(PrefixValuesTest, JudgeWholeAnswersThatBeginAsTheAnswerDoes) {
  const auto engine = MakeEngine();
  LastTokenJudge judge;
  const AnsweredQuestion question = Answered(*engine, judge);
  judge.asked.clear(), judge.seen.clear();
  const std::vector<PrefixValue> values = Values(*engine, judge, question, {0, 4});
  EXPECT_THAT(judge.asked, ElementsAre("1 2 ", "1 2 "));
  ASSERT_EQ(judge.seen.size(), 8u);
  const std::vector<TokenId>& answer = question.answer.token_ids;
  std::vector<double> worth;
  for (size_t i = 0; i < judge.seen.size(); ++i) {
    const size_t kept = i < 4 ? 0 : 4;
    ASSERT_EQ(judge.seen[i].size(), size_t{kMaxTokens}) << "as long as the answer could have become";
    EXPECT_TRUE(std::equal(answer.begin(), answer.begin() + kept, judge.seen[i].begin())) << i;
    worth.push_back(WorthOf(judge.seen[i].back()));
  }
  for (size_t place = 0; place < 2; ++place) {
    EXPECT_EQ(values[place].first, (worth[4 * place] + worth[4 * place + 1]) / 2);
    EXPECT_EQ(values[place].second, (worth[4 * place + 2] + worth[4 * place + 3]) / 2);
  }
}

// Which other places are probed, in what order, how many sequences run at once: none of it moves a value.
TEST(PrefixValuesTest, DependOnTheirPlaceAlone) {
  const auto engine = MakeEngine(), narrow = MakeEngine(3);
  LastTokenJudge judge;
  const AnsweredQuestion question = Answered(*engine, judge);
  const std::vector<PrefixValue> all = Values(*engine, judge, question, {0, 1, 2, 3, 4, 5, 6});
  const std::vector<PrefixValue> some = Values(*narrow, judge, question, {4, 1, 4});
  for (const auto& [value, length] : {std::pair(some[0], 4), std::pair(some[1], 1), std::pair(some[2], 4)}) {
    EXPECT_EQ(value.first, all[static_cast<size_t>(length)].first) << length;
    EXPECT_EQ(value.second, all[static_cast<size_t>(length)].second) << length;
  }
  EXPECT_EQ(all[6].mean, question.answer.reward.total);
  EXPECT_EQ(all[6].first, all[6].second);
  EXPECT_TRUE(Values(*engine, judge, question, {}).empty());
}

// A continuation ends where an answer would have.
TEST(PrefixValuesTest, StopWhereAnAnswerStops) {
  const auto engine = MakeEngine();
  LastTokenJudge judge;
  const AnsweredQuestion question = Answered(*engine, judge);
  judge.seen.clear();
  ValueOptions options = Options();
  for (TokenId id = 0; id < 160; ++id) options.stop_ids.push_back(id);
  Values(*engine, judge, question, {2}, options);
  for (const std::vector<TokenId>& seen : judge.seen) EXPECT_EQ(seen.size(), 3u);
}

TEST(PrefixValuesTest, AnErrorOfTheJudgeIsTold) {
  const auto engine = MakeEngine();
  LastTokenJudge judge;
  const AnsweredQuestion question = Answered(*engine, judge);
  judge.fail = true;
  const std::vector<int32_t> lengths = {1};
  EXPECT_TRUE(
      absl::IsUnavailable(PrefixValues(*engine, NumberTokenizer(), judge, question, lengths, Options()).status()));
  EXPECT_TRUE(absl::IsUnavailable(AnswerQuestion(*engine, NumberTokenizer(), judge, OneTwo(), 1, Options()).status()));
}

}  // namespace
}  // namespace tactus
