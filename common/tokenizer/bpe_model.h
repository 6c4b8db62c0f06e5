// Byte pair encoding of one piece of text: tokenizer.json's model.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/json_field.h"
#include "common/data/types.h"

namespace tactus {

// Ids above this are refused: tables are indexed by id.
inline constexpr int64_t kMaxTokenId = (int64_t{1} << 21) - 1;

// Immutable after loading: thread-safe. Merging takes n log n for a piece of n bytes.
class BpeModel {
 public:
  // Buffers of Encode, kept between pieces. One per thread and call.
  struct Scratch {
    struct Symbol {
      TokenId id;
      int64_t previous, next;  // -1: none
      bool removed;
    };
    struct Merge {
      uint32_t rank;
      TokenId merged;
      int64_t position;
    };
    std::vector<Symbol> symbols;
    std::vector<Merge> queue;  // a heap, the lowest (rank, position) on top
  };

  // Reads vocab, merges (strings or pairs), ignore_merges, unk_token, fuse_unk and byte_fallback. InvalidArgument names
  // the field: another type of model, dropout, a subword prefix or suffix, an id that is out of range or used twice,
  // a merge of or to a token that is not in the vocabulary.
  static absl::StatusOr<BpeModel> FromJson(const JsonField& field);

  // Appends the ids of a piece, given as its bytes (not in ByteLevel's spelling).
  void Encode(absl::string_view piece, Scratch& scratch, std::vector<TokenId>& out) const;

  int size() const { return static_cast<int>(ids_.size()); }  // tokens in the vocabulary
  TokenId highest_id() const { return highest_id_; }
  TokenId Find(absl::string_view token) const;  // -1: not in the vocabulary
  const absl::flat_hash_map<std::string, TokenId>& tokens() const { return ids_; }

 private:
  struct MergeRule {
    uint32_t rank;
    TokenId merged;
  };
  // What a byte begins as. A byte whose character is no token becomes the tokens <0xNN> of that character's UTF-8,
  // where byte_fallback has them, else the unknown token, else nothing.
  struct InitialByte {
    enum class Kind : uint8_t { kToken, kFallback, kUnknown, kDropped } kind = Kind::kDropped;
    std::array<TokenId, 2> ids{};
    uint8_t count = 0;
  };

  absl::Status ReadVocab(const JsonField& field);
  absl::Status ReadMerges(const JsonField& field);
  absl::Status AddMerge(const JsonField& field, absl::string_view left, absl::string_view right, size_t rank);
  absl::Status ReadUnknown(const JsonField& field);
  absl::Status CheckUnsupported(const JsonField& field) const;
  void SetInitialBytes(bool byte_fallback);
  void FindWholeTokens();

  const MergeRule* FindMerge(TokenId left, TokenId right) const;
  void AddSymbols(absl::string_view piece, std::vector<Scratch::Symbol>& symbols) const;
  void MergeAll(Scratch& scratch) const;

  absl::flat_hash_map<std::string, TokenId> ids_;    // in the vocabulary's spelling
  absl::flat_hash_map<uint64_t, MergeRule> merges_;  // by left id << 32 | right id
  absl::flat_hash_map<std::string, TokenId> whole_;  // bytes of the pieces that are known to become one token
  std::array<InitialByte, 256> initial_;
  TokenId highest_id_ = -1;
  TokenId unknown_id_ = -1;
  bool fuse_unknown_ = false;
  bool ignore_merges_ = false;
};

}  // namespace tactus
