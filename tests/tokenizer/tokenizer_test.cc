// What goldens of short strings do not reach: long words, threads, the contract of the interface.
#include "common/tokenizer/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "common/tokenizer/utf8.h"
#include "tests/tree.h"

namespace tactus {
namespace {

std::unique_ptr<Tokenizer> Load(const std::string& name) {
  auto tokenizer = Tokenizer::FromFile(SourcePath("tests/goldens/tokenizer/") + name + ".json");
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return *std::move(tokenizer);
}

std::string Repeat(const std::string& unit, size_t bytes) {
  std::string out;
  while (out.size() < bytes) out += unit;
  return out;
}

// One piece of a megabyte each (a quarter for the others). A quadratic merge, or a regex engine out of its stack, would
// not come through here.
TEST(TokenizerTest, MegabyteWordsRoundTrip) {
  for (const char* name : {"qwen", "llama3", "smol"}) {
    const auto tokenizer = Load(name);
    for (const std::string unit :
         {"a", "therefore", " ", "\n", "\r\n", " \n", "=", "\u00e9", "\u4e2d", "7", "\u0301", "'s"}) {
      if (std::string(name) == "smol" && unit[0] < 0) continue;  // its vocabulary lacks bytes
      const std::string text = Repeat(unit, std::string(name) == "qwen" ? 1 << 20 : 1 << 18);
      const std::vector<TokenId> ids = tokenizer->Encode(text, false);
      EXPECT_EQ(*tokenizer->Decode(ids, false), text) << name << " of " << unit;
    }
  }
}

// The long word gets the ids that its parts get: after a few repeats the merges repeat too.
TEST(TokenizerTest, LongWordIsMergedAsAShortOne) {
  const auto tokenizer = Load("qwen");
  const std::vector<TokenId> unit = tokenizer->Encode("zq", false);
  const std::vector<TokenId> ids = tokenizer->Encode(Repeat("zq", 200000), false);
  ASSERT_EQ(ids.size(), unit.size() * 100000);
  for (size_t i = 0; i < ids.size(); ++i) ASSERT_EQ(ids[i], unit[i % unit.size()]) << i;
}

TEST(TokenizerTest, ThreadsShareOne) {
  const auto tokenizer = Load("qwen");
  const std::string text = Repeat("The number 42 isn't <|im_end|> caf\u0065\u0301, ", 4000);
  const std::vector<TokenId> expected = tokenizer->Encode(text, true);
  std::vector<std::vector<TokenId>> results(4);
  std::vector<std::thread> threads;
  for (auto& result : results) {
    threads.emplace_back([&] {
      for (int i = 0; i < 10; ++i) result = tokenizer->Encode(text, true);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& result : results) EXPECT_EQ(result, expected);
}

TEST(TokenizerTest, SpecialTokensOnlyWhenAsked) {
  const auto tokenizer = Load("llama3");
  const TokenId bos = tokenizer->TokenToId("<|begin_of_text|>");
  EXPECT_EQ(tokenizer->Encode("", true), std::vector<TokenId>{bos});
  EXPECT_TRUE(tokenizer->Encode("", false).empty());
  const std::vector<TokenId> ids = tokenizer->Encode("hi", true);
  EXPECT_EQ(ids[0], bos);
  EXPECT_EQ(*tokenizer->Decode(ids, true), "hi");
  EXPECT_EQ(*tokenizer->Decode(ids, false), "<|begin_of_text|>hi");
}

TEST(TokenizerTest, TokenIds) {
  const auto tokenizer = Load("llama3");
  EXPECT_EQ(tokenizer->TokenToId("no such token"), -1);
  EXPECT_EQ(tokenizer->TokenToId("<|eot_id|>"), tokenizer->vocab_size() - 1);
}

TEST(TokenizerTest, DecodeRefusesIdsOutsideTheVocabulary) {
  const auto tokenizer = Load("qwen");
  for (const TokenId id : {-1, tokenizer->vocab_size(), INT32_MAX, INT32_MIN}) {
    const absl::Status status = tokenizer->Decode(std::vector<TokenId>{0, id}, false).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), testing::HasSubstr("token 1 of 2: expected an id of the vocabulary"));
  }
}

TEST(Utf8Test, ReplacesMaximalSubparts) {
  const std::string r = "\xEF\xBF\xBD";
  EXPECT_EQ(ReplaceInvalidUtf8("a\xF0\x9F\x98z"), "a" + r + "z");
  EXPECT_EQ(ReplaceInvalidUtf8("\xED\xA0\x80"), r + r + r);
  EXPECT_EQ(ReplaceInvalidUtf8("\xC0\xAF\xE0\x80\xE2\x82"), r + r + r + r + r);
  EXPECT_EQ(ReplaceInvalidUtf8("\xF4\x90\x80\x80"), r + r + r + r);
  EXPECT_EQ(ReplaceInvalidUtf8("\xF4\x8F\xBF\xBF"), "\xF4\x8F\xBF\xBF");
  EXPECT_EQ(ReplaceInvalidUtf8("\xFF\x80"), r + r);
}

// A model's vocabulary may be padded past the tokenizer's; what it samples there must not end a run's records.
TEST(TokenizerTest, LossyDecodingMarksIdsThatNobodyHas) {
  const auto tokenizer = Load("qwen");
  std::vector<TokenId> ids = tokenizer->Encode("h\u00e9llo \u4e2d", false);
  EXPECT_EQ(DecodeLossy(*tokenizer, ids, false), "h\u00e9llo \u4e2d");
  ids.insert(ids.begin(), tokenizer->vocab_size());
  ids.push_back(tokenizer->vocab_size() + 5);
  ids.push_back(-1);
  EXPECT_EQ(DecodeLossy(*tokenizer, ids, false), "\uFFFDh\u00e9llo \u4e2d\uFFFD\uFFFD");
  EXPECT_EQ(DecodeLossy(*tokenizer, {}, false), "");
}

}  // namespace
}  // namespace tactus
