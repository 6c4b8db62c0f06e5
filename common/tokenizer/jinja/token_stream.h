// What both halves of the parser read from.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/tokenizer/jinja/lexer.h"

namespace tactus::jinja {

// Not thread-safe. The tokens end in kEnd, which is never passed.
class TokenStream {
 public:
  explicit TokenStream(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  const Token& now() const { return tokens_[at_]; }
  const Token& ahead() const { return tokens_[at_ + 1 < tokens_.size() ? at_ + 1 : at_]; }
  Token Take() {
    Token token = now();
    if (token.kind != TokenKind::kEnd) ++at_;
    return token;
  }
  bool Is(TokenKind kind) const { return now().kind == kind; }
  bool IsName(absl::string_view name) const { return Is(TokenKind::kName) && now().text == name; }
  bool IsOperator(absl::string_view op) const { return Is(TokenKind::kOperator) && now().text == op; }
  bool TakeName(absl::string_view name) { return IsName(name) && (Take(), true); }
  bool TakeOperator(absl::string_view op) { return IsOperator(op) && (Take(), true); }

  absl::Status Expect(TokenKind kind, absl::string_view what) {
    if (!Is(kind)) return Unexpected(what);
    Take();
    return absl::OkStatus();
  }
  absl::Status ExpectOperator(absl::string_view op) {
    return TakeOperator(op) ? absl::OkStatus() : Unexpected(absl::StrCat("'", op, "'"));
  }
  absl::StatusOr<std::string> ExpectName() {
    if (!Is(TokenKind::kName)) return Unexpected("a name");
    return Take().text;
  }

  size_t place() const { return at_; }
  // Whether the name stands between a place and here.
  bool HasName(size_t since, absl::string_view name) const {
    for (size_t i = since; i < at_; ++i) {
      if (tokens_[i].kind == TokenKind::kName && tokens_[i].text == name) return true;
    }
    return false;
  }

  absl::Status Error(absl::string_view problem) const { return SyntaxError(now().line, problem); }
  absl::Status Unexpected(absl::string_view expected) const {
    return Error(absl::StrCat("expected ", expected, ", got ", Described()));
  }

 private:
  std::string Described() const {
    switch (now().kind) {
      case TokenKind::kEnd:
        return "the template's end";
      case TokenKind::kVariableEnd:
        return "'}}'";
      case TokenKind::kBlockEnd:
        return "'%}'";
      case TokenKind::kVariableBegin:
        return "'{{'";
      case TokenKind::kBlockBegin:
        return "'{%'";
      case TokenKind::kData:
        return "text";
      case TokenKind::kInteger:
      case TokenKind::kReal:
        return "a number";
      default:
        return absl::StrCat("'", now().text.substr(0, 40), "'");
    }
  }

  const std::vector<Token> tokens_;
  size_t at_ = 0;
};

}  // namespace tactus::jinja
