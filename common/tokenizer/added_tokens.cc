#include "common/tokenizer/added_tokens.h"

#include <algorithm>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_format.h"
#include "common/base/status_macros.h"
#include "common/tokenizer/unicode.h"
#include "common/tokenizer/utf8.h"

namespace tactus {
namespace {

constexpr size_t kMaxAddedBytes = size_t{4} << 20;  // bounds the matcher's memory

bool EndsInWord(absl::string_view text) {
  return !text.empty() && IsWordCharacter(DecodeUtf8Before(text, text.size()).code_point);
}

bool StartsWithWord(absl::string_view text) { return !text.empty() && IsWordCharacter(DecodeUtf8(text, 0).code_point); }

size_t TrailingSpaceStart(absl::string_view text) {
  size_t start = text.size();
  while (start > 0) {
    const Scalar scalar = DecodeUtf8Before(text, start);
    if (!IsSpace(scalar.code_point)) break;
    start -= scalar.length_bytes;
  }
  return start;
}

size_t LeadingSpaceEnd(absl::string_view text) {
  size_t end = 0;
  while (end < text.size()) {
    const Scalar scalar = DecodeUtf8(text, end);
    if (!IsSpace(scalar.code_point)) break;
    end += scalar.length_bytes;
  }
  return end;
}

absl::StatusOr<AddedToken> ReadAddedToken(const JsonField& field, bool nfc) {
  AddedToken token;
  JSON_MEMBER(const int64_t id, field, "id", IntegerIn(0, kMaxTokenId));
  token.id = static_cast<TokenId>(id);
  JSON_MEMBER(token.content, field, "content", String());
  JSON_MEMBER(token.single_word, field, "single_word", Bool());
  JSON_MEMBER(token.lstrip, field, "lstrip", Bool());
  JSON_MEMBER(token.rstrip, field, "rstrip", Bool());
  JSON_MEMBER(token.normalized, field, "normalized", Bool());
  JSON_MEMBER(token.special, field, "special", Bool());
  token.pattern = token.normalized && nfc ? NormalizeNfc(token.content) : token.content;
  if (token.content.empty() || std::max(token.content.size(), token.pattern.size()) > kMaxAddedTokenBytes) {
    ASSIGN_OR_RETURN(const JsonField content, field.Member("content"));
    return content.Expected(absl::StrFormat("1 to %d bytes", kMaxAddedTokenBytes));
  }
  return token;
}

}  // namespace

void AddedTokenMatcher::Add(const AddedToken& token) {
  uint32_t node = 0;
  for (const char c : token.pattern) {
    const auto [it, inserted] = nodes_[node].next.try_emplace(static_cast<uint8_t>(c), nodes_.size());
    node = it->second;
    if (inserted) nodes_.emplace_back();  // ends the life of `it`
  }
  nodes_[node].token = static_cast<int>(tokens_.size());
  can_start_[static_cast<uint8_t>(token.pattern[0])] = true;
  tokens_.push_back(token);
}

AddedTokenMatcher::Match AddedTokenMatcher::LongestAt(absl::string_view text, size_t at) const {
  Match longest{-1, 0};
  uint32_t node = 0;
  for (size_t i = at; i < text.size(); ++i) {
    const auto it = nodes_[node].next.find(static_cast<uint8_t>(text[i]));
    if (it == nodes_[node].next.end()) break;
    node = it->second;
    if (nodes_[node].token >= 0) longest = {nodes_[node].token, i + 1 - at};
  }
  return longest;
}

void AddedTokenMatcher::Cut(absl::string_view text, std::vector<Segment>& out) const {
  size_t covered = 0;
  for (size_t at = 0; at < text.size();) {
    if (!can_start_[static_cast<uint8_t>(text[at])]) {
      ++at;
      continue;
    }
    const Match match = LongestAt(text, at);
    if (match.token < 0) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[match.token];
    size_t start = at, end = at + match.length_bytes;
    at = end;  // the search goes on behind the token itself, whatever becomes of it
    if (token.single_word && (EndsInWord(text.substr(0, start)) || StartsWithWord(text.substr(end)))) continue;
    if (token.lstrip) start = covered + TrailingSpaceStart(text.substr(covered, std::max(start, covered) - covered));
    // Behind `end` and before `covered` there are only spaces, which an earlier rstrip has walked over.
    if (token.rstrip) end = std::max(end, covered) + LeadingSpaceEnd(text.substr(std::max(end, covered)));
    if (covered < start) out.push_back({-1, text.substr(covered, start - covered)});
    out.push_back({token.id, absl::string_view()});
    covered = end;
  }
  if (covered < text.size()) out.push_back({-1, text.substr(covered)});
}

absl::StatusOr<std::vector<AddedToken>> ReadAddedTokens(const JsonField& field, const BpeModel& model, bool nfc) {
  std::vector<AddedToken> tokens;
  if (field.is_null()) return tokens;
  ASSIGN_OR_RETURN(const size_t size, field.ArraySize());
  absl::flat_hash_set<std::string> contents, patterns;
  TokenId next_id = model.size();
  size_t total_bytes = 0;
  for (size_t i = 0; i < size; ++i) {
    const JsonField element = field.Element(i);
    ASSIGN_OR_RETURN(AddedToken token, ReadAddedToken(element, nfc));
    total_bytes += token.pattern.size();
    if (total_bytes > kMaxAddedBytes) {
      return field.Expected(absl::StrFormat("at most %d bytes in all contents together", kMaxAddedBytes));
    }
    if (!contents.insert(token.content).second) return element.Error("this content was added already");
    if (!patterns.insert(absl::StrCat(token.normalized ? "n" : "-", token.pattern)).second) {
      return element.Error("another added token normalizes to the same text");
    }
    const TokenId in_vocab = model.Find(token.content);
    const TokenId expected = in_vocab >= 0 ? in_vocab : next_id++;
    if (token.id != expected) {
      ASSIGN_OR_RETURN(const JsonField id, element.Member("id"));
      return id.Expected(absl::StrFormat("%d, %s", expected,
                                         in_vocab >= 0 ? "which this token has in model.vocab"
                                                       : "the next id behind the vocabulary and the tokens before"));
    }
    tokens.push_back(std::move(token));
  }
  return tokens;
}

}  // namespace tactus
