// What a token is to look at: for controls that match tokens, and for tables by kind. Thread-safe: no state.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/data/types.h"
#include "common/tokenizer/tokenizer.h"

namespace tactus {

enum class TokenKind : uint8_t { kSpecial, kNumber, kWord, kSpace, kSymbol };
inline constexpr int kTokenKinds = 5;

// "special", "number", …
absl::string_view NameOf(TokenKind kind);

// Of a token's own text: a number has a digit, a word a letter or a byte outside ASCII and no digit, a space nothing
// but white space, a symbol is the rest; special is one without a text.
TokenKind KindOfText(absl::string_view text);

// [N] of each token by itself. One that is no token of the vocabulary, or is added to it as a special one, is special.
std::vector<TokenKind> TokenKinds(const Tokenizer& tokenizer, std::span<const TokenId> ids);

}  // namespace tactus
