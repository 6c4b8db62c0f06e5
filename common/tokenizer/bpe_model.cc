#include "common/tokenizer/bpe_model.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "common/base/status_macros.h"
#include "common/tokenizer/byte_alphabet.h"
#include "common/tokenizer/utf8.h"

namespace tactus {
namespace {

uint64_t PairKey(TokenId left, TokenId right) {
  return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
}

// Heaps have the greatest on top; the merge to do next has the lowest rank, then the lowest position.
bool Later(const BpeModel::Scratch::Merge& a, const BpeModel::Scratch::Merge& b) {
  return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
}

}  // namespace

absl::StatusOr<BpeModel> BpeModel::FromJson(const JsonField& field) {
  RETURN_IF_ERROR(field.CheckObject());
  BpeModel model;
  RETURN_IF_ERROR(model.CheckUnsupported(field));
  JSON_MEMBER(model.ignore_merges_, field, "ignore_merges", BoolOr(false));
  JSON_MEMBER(model.fuse_unknown_, field, "fuse_unk", BoolOr(false));
  JSON_MEMBER(const bool byte_fallback, field, "byte_fallback", BoolOr(false));
  ASSIGN_OR_RETURN(const JsonField vocab, field.Member("vocab"));
  RETURN_IF_ERROR(model.ReadVocab(vocab));
  ASSIGN_OR_RETURN(const JsonField merges, field.Member("merges"));
  RETURN_IF_ERROR(model.ReadMerges(merges));
  ASSIGN_OR_RETURN(const JsonField unknown, field.Member("unk_token"));
  RETURN_IF_ERROR(model.ReadUnknown(unknown));
  model.SetInitialBytes(byte_fallback);
  model.FindWholeTokens();
  return model;
}

absl::Status BpeModel::CheckUnsupported(const JsonField& field) const {
  ASSIGN_OR_RETURN(const JsonField type, field.Member("type"));
  if (!type.is_null() && type.value() != "BPE") return type.Expected("\"BPE\" (no other model is supported)");
  ASSIGN_OR_RETURN(const JsonField dropout, field.Member("dropout"));
  if (!dropout.is_null() && !(dropout.value().is_number() && dropout.value() == 0.0)) {
    return dropout.Expected("null or 0 (random merges are not supported)");
  }
  for (const absl::string_view key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    ASSIGN_OR_RETURN(const JsonField affix, field.Member(key));
    if (!affix.is_null() && affix.value() != "") return affix.Expected("null or \"\" (byte-level BPE has none)");
  }
  return absl::OkStatus();
}

absl::Status BpeModel::ReadVocab(const JsonField& field) {
  if (!field.value().is_object() || field.value().empty()) return field.Expected("an object of tokens and their ids");
  ids_.reserve(field.value().size());
  std::vector<bool> used;
  for (const auto& item : field.value().items()) {
    const JsonField id_field = *field.Member(item.key());
    ASSIGN_OR_RETURN(const int64_t id, id_field.IntegerIn(0, kMaxTokenId));
    if (static_cast<size_t>(id) >= used.size()) used.resize(id + 1);
    if (used[id]) return id_field.Error(absl::StrFormat("the id %d belongs to another token already", id));
    used[id] = true;
    ids_.emplace(item.key(), static_cast<TokenId>(id));
  }
  highest_id_ = static_cast<TokenId>(used.size()) - 1;
  return absl::OkStatus();
}

absl::Status BpeModel::ReadMerges(const JsonField& field) {
  ASSIGN_OR_RETURN(const size_t size, field.ArraySize());
  merges_.reserve(size);
  for (size_t rank = 0; rank < size; ++rank) {
    const JsonField merge = field.Element(rank);
    const nlohmann::json& value = merge.value();
    if (value.is_array() && value.size() == 2 && value[0].is_string() && value[1].is_string()) {
      RETURN_IF_ERROR(
          AddMerge(merge, value[0].get_ref<const std::string&>(), value[1].get_ref<const std::string&>(), rank));
      continue;
    }
    const std::vector<absl::string_view> parts =
        absl::StrSplit(value.is_string() ? absl::string_view(value.get_ref<const std::string&>()) : "", ' ');
    if (parts.size() != 2) return merge.Expected("\"left right\" or [\"left\", \"right\"]");
    RETURN_IF_ERROR(AddMerge(merge, parts[0], parts[1], rank));
  }
  return absl::OkStatus();
}

absl::Status BpeModel::AddMerge(const JsonField& field, absl::string_view left, absl::string_view right, size_t rank) {
  const std::string merged = absl::StrCat(left, right);
  const TokenId ids[3] = {Find(left), Find(right), Find(merged)};
  const absl::string_view names[3] = {left, right, merged};
  for (int i = 0; i < 3; ++i) {
    if (ids[i] < 0) {
      return field.Error(absl::StrCat("\"", names[i].substr(0, 100), "\" is not a token of the vocabulary"));
    }
  }
  // A pair named twice keeps its last rank, as in `tokenizers`.
  merges_[PairKey(ids[0], ids[1])] = {static_cast<uint32_t>(rank), ids[2]};
  return absl::OkStatus();
}

absl::Status BpeModel::ReadUnknown(const JsonField& field) {
  if (field.is_null()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::string token, field.String());
  unknown_id_ = Find(token);
  if (unknown_id_ < 0) return field.Expected("a token of the vocabulary");
  return absl::OkStatus();
}

TokenId BpeModel::Find(absl::string_view token) const {
  const auto it = ids_.find(token);
  return it == ids_.end() ? -1 : it->second;
}

void BpeModel::SetInitialBytes(bool byte_fallback) {
  for (int b = 0; b < 256; ++b) {
    InitialByte& initial = initial_[b];
    std::string character;
    AppendUtf8(ByteToCodePoint(static_cast<uint8_t>(b)), character);
    if (const TokenId id = Find(character); id >= 0) {
      initial = {InitialByte::Kind::kToken, {id, 0}, 1};
      continue;
    }
    if (unknown_id_ >= 0) initial = {InitialByte::Kind::kUnknown, {unknown_id_, 0}, 1};
    if (!byte_fallback) continue;
    InitialByte fallback{InitialByte::Kind::kFallback, {}, 0};
    for (const char c : character) {
      const TokenId id = Find(absl::StrFormat("<0x%02X>", static_cast<uint8_t>(c)));
      if (id < 0) break;
      fallback.ids[fallback.count++] = id;
    }
    if (fallback.count == character.size()) initial = fallback;
  }
}

// Most words are one token. Which ones is found out once, here, by merging every token's bytes; Encode then looks a
// piece up before it merges. It is a cache that is complete from the start and needs no lock.
void BpeModel::FindWholeTokens() {
  Scratch scratch;
  std::vector<TokenId> merged;
  for (const auto& [token, id] : ids_) {
    const std::optional<std::string> bytes = BytesOfToken(token);
    if (!bytes || bytes->empty()) continue;
    if (!ignore_merges_) {
      merged.clear();
      Encode(*bytes, scratch, merged);
      if (merged.size() != 1 || merged[0] != id) continue;
    }
    whole_.emplace(*bytes, id);
  }
}

void BpeModel::Encode(absl::string_view piece, Scratch& scratch, std::vector<TokenId>& out) const {
  if (const auto it = whole_.find(piece); it != whole_.end()) {
    out.push_back(it->second);
    return;
  }
  scratch.symbols.clear();
  AddSymbols(piece, scratch.symbols);
  MergeAll(scratch);
  for (const Scratch::Symbol& symbol : scratch.symbols) {
    if (!symbol.removed) out.push_back(symbol.id);
  }
}

void BpeModel::AddSymbols(absl::string_view piece, std::vector<Scratch::Symbol>& symbols) const {
  symbols.reserve(piece.size());
  const auto add = [&](TokenId id) {
    const int64_t index = static_cast<int64_t>(symbols.size());
    symbols.push_back({id, index - 1, index + 1, false});
  };
  // An unknown waits for the next known token, so that its neighbours can join it; fallback tokens pass it by.
  // Both are what `tokenizers` does.
  bool unknown_waits = false;
  for (const char c : piece) {
    const InitialByte& initial = initial_[static_cast<uint8_t>(c)];
    switch (initial.kind) {
      case InitialByte::Kind::kToken:
        if (unknown_waits) add(unknown_id_);
        unknown_waits = false;
        add(initial.ids[0]);
        break;
      case InitialByte::Kind::kFallback:
        for (int i = 0; i < initial.count; ++i) add(initial.ids[i]);
        break;
      case InitialByte::Kind::kUnknown:
        if (unknown_waits && !fuse_unknown_) add(unknown_id_);
        unknown_waits = true;
        break;
      case InitialByte::Kind::kDropped:
        break;
    }
  }
  if (unknown_waits) add(unknown_id_);
  if (!symbols.empty()) symbols.back().next = -1;
}

const BpeModel::MergeRule* BpeModel::FindMerge(TokenId left, TokenId right) const {
  const auto it = merges_.find(PairKey(left, right));
  return it == merges_.end() ? nullptr : &it->second;
}

void BpeModel::MergeAll(Scratch& scratch) const {
  std::vector<Scratch::Symbol>& symbols = scratch.symbols;
  std::vector<Scratch::Merge>& queue = scratch.queue;
  queue.clear();
  for (size_t i = 0; i + 1 < symbols.size(); ++i) {
    const MergeRule* rule = FindMerge(symbols[i].id, symbols[i + 1].id);
    if (rule != nullptr) queue.push_back({rule->rank, rule->merged, static_cast<int64_t>(i)});
  }
  std::make_heap(queue.begin(), queue.end(), Later);
  const auto push = [&](int64_t left, int64_t right) {
    const MergeRule* rule = FindMerge(symbols[left].id, symbols[right].id);
    if (rule == nullptr) return;
    queue.push_back({rule->rank, rule->merged, left});
    std::push_heap(queue.begin(), queue.end(), Later);
  };
  while (!queue.empty()) {
    const Scratch::Merge merge = queue.front();
    std::pop_heap(queue.begin(), queue.end(), Later);
    queue.pop_back();
    Scratch::Symbol& left = symbols[merge.position];
    if (left.removed || left.next < 0) continue;
    Scratch::Symbol& right = symbols[left.next];
    // The entry is out of date when the pair there no longer merges to the same token. (Not: when the pair is another
    // one. `tokenizers` compares the result, so two ways to one token share their entries.)
    const MergeRule* rule = FindMerge(left.id, right.id);
    if (rule == nullptr || rule->merged != merge.merged) continue;
    left.id = merge.merged;
    left.next = right.next;
    right.removed = true;
    if (left.next >= 0) symbols[left.next].previous = merge.position;
    if (left.previous >= 0) push(left.previous, merge.position);
    if (left.next >= 0) push(merge.position, left.next);
  }
}

}  // namespace tactus
