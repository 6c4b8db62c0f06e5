#include "common/tokenizer/jinja/lexer.h"

#include <charconv>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "common/base/status_macros.h"
#include "common/tokenizer/jinja/characters.h"
#include "common/tokenizer/utf8.h"

namespace tactus::jinja {
namespace {

// Longest first, so that the first that fits is the right one.
constexpr absl::string_view kOperators[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
                                            "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};

bool IsNameByte(char c) { return absl::ascii_isalnum(c) || c == '_' || (static_cast<uint8_t>(c) & 0x80) != 0; }

std::string NormalNewlines(absl::string_view source) {
  std::string text = absl::StrReplaceAll(source, {{"\r\n", "\n"}, {"\r", "\n"}});
  if (absl::EndsWith(text, "\n")) text.pop_back();
  return text;
}

// The escapes of a Python literal; one that Python does not know stays as it is.
absl::StatusOr<std::string> Unescape(absl::string_view literal, int line) {
  std::string out;
  for (size_t at = 0; at < literal.size();) {
    if (literal[at] != '\\' || at + 1 == literal.size()) {
      out += literal[at++];
      continue;
    }
    const char c = literal[at + 1];
    static constexpr absl::string_view kLetters = "abfnrtv\\'\"", kMeanings = "\a\b\f\n\r\t\v\\'\"";
    if (const size_t place = kLetters.find(c); place != absl::string_view::npos) {
      out += kMeanings[place];
      at += 2;
    } else if (c == '\n') {
      at += 2;
    } else if (c >= '0' && c <= '7') {
      size_t end = at + 1;
      uint32_t code = 0;
      for (; end < literal.size() && end < at + 4 && literal[end] >= '0' && literal[end] <= '7'; ++end) {
        code = code * 8 + static_cast<uint32_t>(literal[end] - '0');
      }
      AppendUtf8(code, out);
      at = end;
    } else if (c == 'x' || c == 'u' || c == 'U') {
      const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
      uint32_t code = 0;
      const absl::string_view hex = literal.substr(at + 2, digits);
      const auto read = std::from_chars(hex.data(), hex.data() + hex.size(), code, 16);
      if (hex.size() != digits || read.ptr != hex.data() + digits || code > 0x10FFFF ||
          (code >= 0xD800 && code < 0xE000)) {
        return SyntaxError(line, absl::StrCat("\\", literal.substr(at + 1, 1), " in a literal: expected ", digits,
                                              " hexadecimal digits of a character"));
      }
      AppendUtf8(code, out);
      at += 2 + digits;
    } else {
      out += literal[at++];
    }
  }
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)), rest_(source_) {}

  absl::StatusOr<std::vector<Token>> Run() {
    while (!rest_.empty()) RETURN_IF_ERROR(Root());
    Push(TokenKind::kEnd);
    return std::move(tokens_);
  }

 private:
  void Push(TokenKind kind, std::string text = "") {
    tokens_.push_back({.kind = kind, .text = std::move(text), .line = line_});
  }

  // Goes on by `bytes`, and remembers whether a line starts there.
  void Advance(size_t bytes) {
    if (bytes == 0) return;
    const absl::string_view passed = rest_.substr(0, bytes);
    for (const char c : passed) line_ += c == '\n';
    line_starts_ = passed.back() == '\n';
    rest_.remove_prefix(bytes);
  }

  void PushData(absl::string_view text) {
    if (!text.empty()) Push(TokenKind::kData, std::string(text));
  }

  // The text before a tag that starts with `sign` behind its opening: what of it is printed.
  absl::string_view Stripped(absl::string_view text, char sign, bool variable) const {
    if (sign == '-') return StripSpace(text, /*left=*/false, /*right=*/true);
    if (sign == '+' || variable) return text;
    const size_t newline = text.rfind('\n');
    if (newline == absl::string_view::npos && !line_starts_) return text;
    const size_t start = newline == absl::string_view::npos ? 0 : newline + 1;
    return StripSpace(text.substr(start), true, true).empty() ? text.substr(0, start) : text;
  }

  // How long the end of a tag is at the start of `text`, with the white space it takes along; 0: none is there.
  static size_t EndLength(absl::string_view text, absl::string_view end, bool trims_newline, bool plus = true) {
    const size_t sign = !text.empty() && (text[0] == '-' || (plus && text[0] == '+')) ? 1 : 0;
    if (!absl::StartsWith(text.substr(sign), end)) return 0;
    size_t length = sign + end.size();
    if (sign == 1 && text[0] == '-') {
      const absl::string_view behind = text.substr(length);
      return length + behind.size() - StripSpace(behind, true, false).size();
    }
    if (sign == 0 && trims_newline && absl::StartsWith(text.substr(length), "\n")) ++length;
    return length;
  }

  absl::Status Root() {
    size_t at = 0;
    while (true) {
      at = rest_.find('{', at);
      if (at == absl::string_view::npos || at + 1 == rest_.size()) {
        PushData(rest_);
        Advance(rest_.size());
        return absl::OkStatus();
      }
      if (rest_[at + 1] == '{' || rest_[at + 1] == '%' || rest_[at + 1] == '#') break;
      ++at;
    }
    const char tag = rest_[at + 1];
    const char sign = at + 2 < rest_.size() && (rest_[at + 2] == '-' || rest_[at + 2] == '+') ? rest_[at + 2] : ' ';
    PushData(Stripped(rest_.substr(0, at), sign, tag == '{'));
    if (tag == '%') {
      if (const size_t raw = RawBeginLength(rest_.substr(at)); raw > 0) {
        Advance(at + raw);
        return Raw();
      }
    }
    Advance(at + (sign == ' ' ? 2 : 3));
    if (tag == '#') return Comment();
    Push(tag == '{' ? TokenKind::kVariableBegin : TokenKind::kBlockBegin);
    return Tag(tag == '{');
  }

  // The length of {% raw %} at the start of `text`, which takes no newline along.
  static size_t RawBeginLength(absl::string_view text) {
    absl::string_view inside = text.substr(2);
    if (!absl::ConsumePrefix(&inside, "-")) absl::ConsumePrefix(&inside, "+");
    inside = StripSpace(inside, true, false);
    if (!absl::ConsumePrefix(&inside, "raw")) return 0;
    inside = StripSpace(inside, true, false);
    const size_t end = EndLength(inside, "%}", /*trims_newline=*/false, /*plus=*/false);
    return end == 0 ? 0 : text.size() - inside.size() + end;
  }

  absl::Status Raw() {
    const int opened = line_;
    for (size_t at = rest_.find("{%"); at != absl::string_view::npos; at = rest_.find("{%", at + 1)) {
      absl::string_view inside = rest_.substr(at + 2);
      const char sign = !inside.empty() && (inside[0] == '-' || inside[0] == '+') ? inside[0] : ' ';
      if (sign != ' ') inside.remove_prefix(1);
      inside = StripSpace(inside, true, false);
      if (!absl::ConsumePrefix(&inside, "endraw")) continue;
      inside = StripSpace(inside, true, false);
      const size_t end = EndLength(inside, "%}", /*trims_newline=*/true);
      if (end == 0) continue;
      PushData(Stripped(rest_.substr(0, at), sign, false));
      Advance(rest_.size() - inside.size() + end);
      return absl::OkStatus();
    }
    return SyntaxError(opened, "{% raw %} has no {% endraw %}");
  }

  absl::Status Comment() {
    const int opened = line_;
    for (size_t at = rest_.find("#}"); at != absl::string_view::npos; at = rest_.find("#}", at + 1)) {
      const size_t start = at > 0 && (rest_[at - 1] == '-' || rest_[at - 1] == '+') ? at - 1 : at;
      Advance(start + EndLength(rest_.substr(start), "#}", /*trims_newline=*/true));
      return absl::OkStatus();
    }
    return SyntaxError(opened, "a comment has no end");
  }

  absl::Status Tag(bool variable) {
    std::string open;  // brackets: inside of them, no tag ends
    while (!rest_.empty()) {
      if (open.empty()) {
        const size_t end = EndLength(rest_, variable ? "}}" : "%}", /*trims_newline=*/!variable, /*plus=*/!variable);
        if (end > 0) {
          Push(variable ? TokenKind::kVariableEnd : TokenKind::kBlockEnd);
          Advance(end);
          return absl::OkStatus();
        }
      }
      const absl::string_view behind = StripSpace(rest_, true, false);
      if (behind.size() < rest_.size()) {
        Advance(rest_.size() - behind.size());
        continue;
      }
      const char c = rest_[0];
      if (c == '"' || c == '\'') {
        RETURN_IF_ERROR(Literal());
      } else if (absl::ascii_isdigit(c)) {
        RETURN_IF_ERROR(Number());
      } else if (IsNameByte(c)) {
        size_t length = 1;
        while (length < rest_.size() && IsNameByte(rest_[length])) ++length;
        Push(TokenKind::kName, std::string(rest_.substr(0, length)));
        Advance(length);
      } else {
        RETURN_IF_ERROR(Operator(open));
      }
    }
    return SyntaxError(line_, "a tag has no end");
  }

  absl::Status Literal() {
    size_t end = 1;
    while (end < rest_.size() && rest_[end] != rest_[0]) end += rest_[end] == '\\' ? 2 : 1;
    if (end >= rest_.size()) return SyntaxError(line_, "a literal has no closing quote");
    ASSIGN_OR_RETURN(std::string text, Unescape(rest_.substr(1, end - 1), line_));
    Push(TokenKind::kText, std::move(text));
    Advance(end + 1);
    return absl::OkStatus();
  }

  // The digits of a base at `at`, single underscores between them allowed: where they end.
  template <class IsDigit>
  size_t DigitsEnd(size_t at, const IsDigit& is_digit) const {
    while (at < rest_.size() && is_digit(rest_[at])) {
      ++at;
      if (at + 1 < rest_.size() && rest_[at] == '_' && is_digit(rest_[at + 1])) ++at;
    }
    return at;
  }

  absl::Status Number() {
    const auto decimal = [](char c) { return absl::ascii_isdigit(c); };
    Push(TokenKind::kInteger);
    Token& token = tokens_.back();
    int base = 10;
    size_t start = 0, end = 0;
    if (rest_[0] == '0' && rest_.size() > 2) {
      const char letter = absl::ascii_tolower(rest_[1]);
      base = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 10;
    }
    if (base != 10) {
      start = rest_[2] == '_' ? 3 : 2;
      end = DigitsEnd(start, [](char c) { return absl::ascii_isxdigit(c); });
    } else {
      end = DigitsEnd(0, decimal);
      size_t real_end = end;
      if (end + 1 < rest_.size() && rest_[end] == '.' && decimal(rest_[end + 1]))
        real_end = DigitsEnd(end + 1, decimal);
      if (real_end + 1 < rest_.size() && absl::ascii_tolower(rest_[real_end]) == 'e') {
        const size_t sign = rest_[real_end + 1] == '+' || rest_[real_end + 1] == '-' ? 1 : 0;
        const size_t digits = real_end + 1 + sign;
        if (digits < rest_.size() && decimal(rest_[digits])) real_end = DigitsEnd(digits, decimal);
      }
      if (real_end > end) {
        token.kind = TokenKind::kReal;
        end = real_end;
      }
    }
    const std::string digits = absl::StrReplaceAll(rest_.substr(start, end - start), {{"_", ""}});
    const char* last = digits.data() + digits.size();
    bool read = false;
    if (token.kind == TokenKind::kReal) {
      read = absl::SimpleAtod(digits, &token.real);  // too large: infinity, as in Python
    } else {
      const auto whole = std::from_chars(digits.data(), last, token.integer, base);
      read = whole.ptr == last && whole.ec == std::errc();
    }
    if (!read) return SyntaxError(line_, absl::StrCat("cannot read the number ", digits.substr(0, 40)));
    Advance(end);
    return absl::OkStatus();
  }

  absl::Status Operator(std::string& open) {
    for (const absl::string_view op : kOperators) {
      if (!absl::StartsWith(rest_, op)) continue;
      if (op == "(" || op == "[" || op == "{") open += op == "(" ? ')' : op == "[" ? ']' : '}';
      if (op == ")" || op == "]" || op == "}") {
        if (open.empty() || open.back() != op[0]) return SyntaxError(line_, absl::StrCat("unexpected '", op, "'"));
        open.pop_back();
      }
      Push(TokenKind::kOperator, std::string(op));
      Advance(op.size());
      return absl::OkStatus();
    }
    return SyntaxError(line_, absl::StrCat("unexpected character '", rest_.substr(0, 1), "'"));
  }

  const std::string source_;
  absl::string_view rest_;
  std::vector<Token> tokens_;
  int line_ = 1;
  bool line_starts_ = true;
};

}  // namespace

absl::Status SyntaxError(int line, absl::string_view problem) {
  return absl::InvalidArgumentError(absl::StrCat("line ", line, ": ", problem));
}

absl::StatusOr<std::vector<Token>> Tokenize(absl::string_view source) { return Lexer(NormalNewlines(source)).Run(); }

}  // namespace tactus::jinja
