#include "common/rhythm/token_kind.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/tree.h"

namespace tactus {
namespace {

TEST(TokenKindTest, LooksAtTheText) {
  for (const auto& [text, kind] : std::initializer_list<std::pair<const char*, const char*>>{{"", "special"},
                                                                                             {"7", "number"},
                                                                                             {" 12", "number"},
                                                                                             {"x1", "number"},
                                                                                             {"the", "word"},
                                                                                             {" The", "word"},
                                                                                             {"\xC3", "word"},
                                                                                             {"\xE2\x82\xAC", "word"},
                                                                                             {" ", "space"},
                                                                                             {"\n\n", "space"},
                                                                                             {"+", "symbol"},
                                                                                             {" =", "symbol"},
                                                                                             {"</", "symbol"}}) {
    EXPECT_EQ(NameOf(KindOfText(text)), kind) << text;
  }
}

TEST(TokenKindTest, TakesEachTokenByItself) {
  const auto tokenizer = Tokenizer::FromFile(SourcePath("models/quickstart-base/tokenizer.json"));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  std::vector<TokenId> ids = (*tokenizer)->Encode("12 + x", /*add_special_tokens=*/false);
  ids.push_back((*tokenizer)->vocab_size());  // no token
  const std::vector<TokenKind> kinds = TokenKinds(**tokenizer, ids);
  ASSERT_EQ(kinds.size(), ids.size());
  EXPECT_EQ(kinds.front(), TokenKind::kNumber);
  EXPECT_EQ(kinds.back(), TokenKind::kSpecial);
  EXPECT_THAT(kinds, ::testing::Contains(TokenKind::kSymbol));
}

}  // namespace
}  // namespace tactus
