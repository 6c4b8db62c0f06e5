#include "common/tasks/answer_region.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/tree.h"

namespace tactus {
namespace {

// One token a byte, so that places in the text are places of tokens; 300 stops.
class Bytes final : public Tokenizer {
 public:
  std::vector<TokenId> Encode(absl::string_view text, bool) const override {
    std::vector<TokenId> ids;
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }
  absl::StatusOr<std::string> Decode(std::span<const TokenId> ids, bool skip_special_tokens) const override {
    std::string text;
    for (const TokenId id : ids) {
      if (id < 256) text += static_cast<char>(id);
      if (id == 300 && !skip_special_tokens) text += "<stop>";
    }
    return text;
  }
  int vocab_size() const override { return 301; }
  TokenId TokenToId(absl::string_view) const override { return -1; }
};

std::pair<int64_t, int64_t> RegionOf(const std::string& text, int64_t last_tokens, bool stopped = false) {
  const Bytes tokenizer;
  std::vector<TokenId> ids = tokenizer.Encode(text, false);
  if (stopped) ids.push_back(300);
  return AnswerRegion(tokenizer, ids, last_tokens);
}

TEST(AnswerRegionTest, IsWhatTheLastMarkHolds) {
  EXPECT_EQ(RegionOf("so <answer> 1+2 </answer>.", 4), (std::pair<int64_t, int64_t>{12, 15}));
  EXPECT_EQ(RegionOf("<answer>1</answer> no <answer>23</answer>", 4), (std::pair<int64_t, int64_t>{30, 32}));
  EXPECT_EQ(RegionOf("thus \\boxed{18}", 4), (std::pair<int64_t, int64_t>{12, 14}));
  EXPECT_EQ(RegionOf("x\n#### 42", 4, /*stopped=*/true), (std::pair<int64_t, int64_t>{7, 9}))
      << "what stops is no part of the text";
}

TEST(AnswerRegionTest, IsTheEndWithoutAMark) {
  EXPECT_EQ(RegionOf("1+2=3", 2), (std::pair<int64_t, int64_t>{3, 5}));
  EXPECT_EQ(RegionOf("1+2=3", 2, /*stopped=*/true), (std::pair<int64_t, int64_t>{4, 6}));
  EXPECT_EQ(RegionOf("1+2=3", 9), (std::pair<int64_t, int64_t>{0, 5}));
  EXPECT_EQ(RegionOf("<answer> </answer>", 2), (std::pair<int64_t, int64_t>{16, 18})) << "nothing is in the mark";
  EXPECT_EQ(RegionOf("", 3), (std::pair<int64_t, int64_t>{0, 0}));
}

TEST(AnswerRegionTest, OfAConversationIsWhatTheModelSaid) {
  const Bytes tokenizer;
  const auto region = [&](const std::vector<std::string>& said_and_told) {
    Completion completion;
    for (size_t i = 0; i < said_and_told.size(); ++i) {
      const std::vector<TokenId> ids = tokenizer.Encode(said_and_told[i], false);
      if (i % 2 == 0) {
        completion.turns.push_back(
            {.start_token = static_cast<int>(completion.token_ids.size()), .num_tokens = static_cast<int>(ids.size())});
      }
      completion.token_ids.insert(completion.token_ids.end(), ids.begin(), ids.end());
    }
    if (completion.turns.size() == 1) completion.turns.clear();  // no conversation
    return AnswerRegion(tokenizer, completion, 3);
  };
  using Region = std::pair<int64_t, int64_t>;
  EXPECT_EQ(region({"a \\boxed{18}."}), (Region{9, 11}));
  EXPECT_EQ(region({"3*4", "= #### 12", "so \\boxed{12}"}), (Region{22, 24}));
  EXPECT_EQ(region({"\\boxed{7}?", "no", "\\boxed{8}", "yes", "good"}), (Region{19, 20})) << "the last that has one";
  EXPECT_EQ(region({"3*4", "#### 12", "it is 12"}), (Region{15, 18})) << "others' marks are none";
  EXPECT_EQ(region({"<answer>1", "</answer>", "2"}), (Region{18, 19})) << "a mark does not reach over them";
}

// Tokens of several bytes: those that have a part of it.
TEST(AnswerRegionTest, TakesTokensThatHaveAPartOfIt) {
  const auto tokenizer = Tokenizer::FromFile(SourcePath("tests/goldens/tokenizer/smol.json"));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  const std::vector<TokenId> ids =
      (*tokenizer)->Encode("Therefore it must be <answer>four hundred</answer> indeed.", false);
  const auto [begin, end] = AnswerRegion(**tokenizer, ids, 1);
  const auto text = [&](int64_t from, int64_t to) {
    return DecodeLossy(**tokenizer, std::span(ids).subspan(from, to - from), false);
  };
  EXPECT_THAT(text(begin, end), ::testing::HasSubstr("four hundred"));
  EXPECT_THAT(text(begin + 1, end), ::testing::Not(::testing::HasSubstr("four hundred")));
  EXPECT_THAT(text(begin, end - 1), ::testing::Not(::testing::HasSubstr("four hundred")));
}

}  // namespace
}  // namespace tactus
