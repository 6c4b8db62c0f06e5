#include "common/rhythm/token_kind.h"

#include <algorithm>
#include <cstdlib>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"

namespace tactus {

absl::string_view NameOf(TokenKind kind) {
  switch (kind) {
    case TokenKind::kSpecial:
      return "special";
    case TokenKind::kNumber:
      return "number";
    case TokenKind::kWord:
      return "word";
    case TokenKind::kSpace:
      return "space";
    case TokenKind::kSymbol:
      return "symbol";
  }
  std::abort();
}

TokenKind KindOfText(absl::string_view text) {
  const auto is_letter = [](char c) { return absl::ascii_isalpha(c) || static_cast<unsigned char>(c) >= 0x80; };
  if (text.empty()) return TokenKind::kSpecial;
  if (std::ranges::any_of(text, [](char c) { return absl::ascii_isdigit(c); })) return TokenKind::kNumber;
  if (std::ranges::any_of(text, is_letter)) return TokenKind::kWord;
  return std::ranges::all_of(text, [](char c) { return absl::ascii_isspace(c); }) ? TokenKind::kSpace
                                                                                  : TokenKind::kSymbol;
}

std::vector<TokenKind> TokenKinds(const Tokenizer& tokenizer, std::span<const TokenId> ids) {
  std::vector<TokenKind> kinds;
  kinds.reserve(ids.size());
  for (const TokenId& id : ids) {
    const absl::StatusOr<std::string> text = tokenizer.Decode(std::span(&id, 1), /*skip_special_tokens=*/true);
    kinds.push_back(text.ok() ? KindOfText(*text) : TokenKind::kSpecial);
  }
  return kinds;
}

}  // namespace tactus
