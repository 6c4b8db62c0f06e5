// Tokens that are cut out of the text before anything else sees it: tokenizer.json's added_tokens.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/json_field.h"
#include "common/data/types.h"
#include "common/tokenizer/bpe_model.h"

namespace tactus {

struct AddedToken {
  TokenId id;
  std::string content;
  std::string pattern;  // what is looked for: the content, normalized when `normalized` says so
  bool single_word, lstrip, rstrip, normalized, special;
};

// A part of the text: an added token, or text in between.
struct Segment {
  TokenId id;  // -1: text
  absl::string_view text;
};

// Finds the leftmost and there longest of a set of added tokens. Immutable after the last Add: thread-safe.
class AddedTokenMatcher {
 public:
  void Add(const AddedToken& token);

  // Appends the segments that cover `text`, with the spaces that lstrip and rstrip claim; no empty text segment.
  // Time: linear, times at most the length of the longest token (bounded by kMaxAddedTokenBytes).
  void Cut(absl::string_view text, std::vector<Segment>& out) const;

 private:
  struct Node {
    absl::flat_hash_map<uint8_t, uint32_t> next;
    int token = -1;  // index in tokens_
  };
  struct Match {
    int token;
    size_t length_bytes;
  };
  Match LongestAt(absl::string_view text, size_t at) const;

  std::vector<AddedToken> tokens_;
  std::vector<Node> nodes_ = std::vector<Node>(1);
  bool can_start_[256] = {};
};

inline constexpr size_t kMaxAddedTokenBytes = 1024;

// Reads and checks the list; `nfc` says that the tokenizer normalizes. Ids must be those that `tokenizers` would give:
// the vocabulary's, else the next free one in order. InvalidArgument: names the field.
absl::StatusOr<std::vector<AddedToken>> ReadAddedTokens(const JsonField& field, const BpeModel& model, bool nfc);

}  // namespace tactus
