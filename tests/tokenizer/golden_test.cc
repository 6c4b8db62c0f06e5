// Ids and texts against Hugging Face `tokenizers`; see scripts/goldens/tokenizer_goldens.py.
#include <gtest/gtest.h>

#include <fstream>
#include <map>

#include "absl/strings/escaping.h"
#include "common/tokenizer/tokenizer.h"
#include "nlohmann/json.hpp"
#include "tests/tree.h"

namespace tactus {
namespace {

const std::string kFolder = SourcePath("tests/goldens/tokenizer/");
constexpr const char* kNames[] = {"qwen", "llama3", "smol", "odd", "tekken"};

class TokenizerGoldenTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    for (const char* name : kNames) {
      auto tokenizer = Tokenizer::FromFile(kFolder + name + ".json");
      ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
      tokenizers_[name] = *std::move(tokenizer);
    }
  }
  static std::map<std::string, std::unique_ptr<Tokenizer>> tokenizers_;
};
std::map<std::string, std::unique_ptr<Tokenizer>> TokenizerGoldenTest::tokenizers_;

TEST_F(TokenizerGoldenTest, EncodesLikeTokenizers) {
  std::ifstream file(kFolder + "cases.jsonl");
  int cases = 0;
  for (std::string line; std::getline(file, line); ++cases) {
    const auto golden = nlohmann::json::parse(line);
    const std::string text = absl::HexStringToBytes(golden["hex"].get<std::string>());
    for (const char* name : kNames) {
      EXPECT_EQ(tokenizers_[name]->Encode(text, true), golden[name].get<std::vector<TokenId>>())
          << name << " on line " << cases + 1 << ": " << absl::CHexEscape(text);
    }
  }
  EXPECT_GT(cases, 500);
}

TEST_F(TokenizerGoldenTest, DecodesLikeTokenizers) {
  std::ifstream file(kFolder + "decode.jsonl");
  int cases = 0;
  for (std::string line; std::getline(file, line); ++cases) {
    const auto golden = nlohmann::json::parse(line);
    const auto text = tokenizers_[golden["tokenizer"]]->Decode(golden["ids"].get<std::vector<TokenId>>(),
                                                               golden["skip_special_tokens"].get<bool>());
    ASSERT_TRUE(text.ok()) << text.status();
    EXPECT_EQ(*text, golden["text"].get<std::string>()) << "line " << cases + 1;
  }
  EXPECT_GT(cases, 100);
}

}  // namespace
}  // namespace tactus
