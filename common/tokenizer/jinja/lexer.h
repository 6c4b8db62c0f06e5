// Cuts a template into text and the tokens of its tags, with Jinja's rules for the white space around them as
// `transformers` sets them: trim_blocks, lstrip_blocks, and one newline at the very end dropped.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tactus::jinja {

enum class TokenKind {
  kData,  // text outside of tags
  kVariableBegin,
  kVariableEnd,
  kBlockBegin,
  kBlockEnd,
  kName,
  kText,  // a literal, unescaped
  kInteger,
  kReal,
  kOperator,
  kEnd,
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  std::string text;  // of data, names, literals and operators
  int64_t integer = 0;
  double real = 0;
  int line = 1;
};

// InvalidArgument: "line N: …". The last token is kEnd. `source` must be valid UTF-8.
absl::StatusOr<std::vector<Token>> Tokenize(absl::string_view source);

absl::Status SyntaxError(int line, absl::string_view problem);

}  // namespace tactus::jinja
