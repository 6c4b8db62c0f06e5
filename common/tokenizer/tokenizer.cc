#include "common/tokenizer/tokenizer.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_format.h"
#include "common/base/file.h"
#include "common/base/json_field.h"
#include "common/base/status_macros.h"
#include "common/base/strict_json.h"
#include "common/tokenizer/added_tokens.h"
#include "common/tokenizer/bpe_model.h"
#include "common/tokenizer/decoder.h"
#include "common/tokenizer/pre_tokenizer.h"
#include "common/tokenizer/unicode.h"
#include "common/tokenizer/utf8.h"

namespace tactus {
namespace {

constexpr size_t kMaxFileBytes = size_t{128} << 20;
constexpr JsonLimits kLimits = {
    .max_bytes = kMaxFileBytes, .max_depth = 64, .max_values = size_t{1} << 24, .max_string = size_t{4} << 20};

// Ids that the post-processor puts around a text.
struct SpecialFrame {
  std::vector<TokenId> before, after;
};

absl::StatusOr<bool> ReadNormalizer(const JsonField& field) {
  if (field.is_null()) return false;
  JSON_MEMBER(const std::string type, field, "type", String());
  if (type == "NFC") return true;
  if (type != "Sequence") {
    ASSIGN_OR_RETURN(const JsonField type_field, field.Member("type"));
    return type_field.Expected("NFC or Sequence (no other normalizer is supported)");
  }
  ASSIGN_OR_RETURN(const JsonField list, field.Member("normalizers"));
  ASSIGN_OR_RETURN(const size_t size, list.ArraySize());
  bool nfc = false;
  for (size_t i = 0; i < size; ++i) {
    ASSIGN_OR_RETURN(const bool found, ReadNormalizer(list.Element(i)));
    nfc |= found;
  }
  return nfc;
}

absl::Status AppendSpecialIds(const JsonField& special_tokens, const std::string& name, TokenId highest_id,
                              std::vector<TokenId>& out) {
  ASSIGN_OR_RETURN(const JsonField token, special_tokens.Member(name));
  ASSIGN_OR_RETURN(const JsonField ids, token.Member("ids"));
  ASSIGN_OR_RETURN(const size_t size, ids.ArraySize());
  for (size_t i = 0; i < size; ++i) {
    ASSIGN_OR_RETURN(const int64_t id, ids.Element(i).IntegerIn(0, highest_id));
    out.push_back(static_cast<TokenId>(id));
  }
  return absl::OkStatus();
}

// TemplateProcessing's `single`: pieces of which exactly one is the text.
absl::Status ReadTemplate(const JsonField& field, TokenId highest_id, SpecialFrame& frame) {
  ASSIGN_OR_RETURN(const JsonField single, field.Member("single"));
  ASSIGN_OR_RETURN(const JsonField special_tokens, field.Member("special_tokens"));
  ASSIGN_OR_RETURN(const size_t size, single.ArraySize());
  bool text_seen = false;
  for (size_t i = 0; i < size; ++i) {
    const JsonField piece = single.Element(i);
    ASSIGN_OR_RETURN(const JsonField sequence, piece.Member("Sequence"));
    if (!sequence.is_null()) {
      ASSIGN_OR_RETURN(const JsonField id, sequence.Member("id"));
      if (id.value() != "A" || text_seen) return piece.Expected("sequence A, and only once");
      text_seen = true;
      continue;
    }
    ASSIGN_OR_RETURN(const JsonField special, piece.Member("SpecialToken"));
    JSON_MEMBER(const std::string name, special, "id", String());
    RETURN_IF_ERROR(AppendSpecialIds(special_tokens, name, highest_id, text_seen ? frame.after : frame.before));
  }
  return text_seen ? absl::OkStatus() : single.Expected("sequence A among the pieces");
}

// `seen_template`: a second template has no meaning here, as `tokenizers` would fail on it.
absl::Status ReadPostProcessor(const JsonField& field, TokenId highest_id, bool& seen_template, SpecialFrame& frame) {
  if (field.is_null()) return absl::OkStatus();
  JSON_MEMBER(const std::string type, field, "type", String());
  if (type == "ByteLevel") return absl::OkStatus();  // offsets only
  if (type == "TemplateProcessing" && !seen_template) {
    seen_template = true;
    return ReadTemplate(field, highest_id, frame);
  }
  if (type != "Sequence") {
    ASSIGN_OR_RETURN(const JsonField type_field, field.Member("type"));
    return type_field.Expected("ByteLevel, one TemplateProcessing or Sequence (no other post-processor is supported)");
  }
  ASSIGN_OR_RETURN(const JsonField list, field.Member("processors"));
  ASSIGN_OR_RETURN(const size_t size, list.ArraySize());
  for (size_t i = 0; i < size; ++i) {
    RETURN_IF_ERROR(ReadPostProcessor(list.Element(i), highest_id, seen_template, frame));
  }
  return absl::OkStatus();
}

class BpeTokenizer : public Tokenizer {
 public:
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromJson(const JsonField& root);

  std::vector<TokenId> Encode(absl::string_view text, bool add_special_tokens) const override;
  absl::StatusOr<std::string> Decode(std::span<const TokenId> ids, bool skip_special_tokens) const override;
  int vocab_size() const override { return static_cast<int>(tokens_.size()); }
  TokenId TokenToId(absl::string_view token) const override;

 private:
  // How an id decodes.
  struct TokenText {
    std::optional<std::string> text;  // nothing: the id is not used
    bool special = false;
  };

  BpeTokenizer(BpeModel model, PreTokenizer pre_tokenizer, TokenDecoder decoder)
      : model_(std::move(model)), pre_tokenizer_(std::move(pre_tokenizer)), decoder_(std::move(decoder)) {}
  absl::Status SetTokens(const JsonField& added_field, const std::vector<AddedToken>& added);

  BpeModel model_;
  PreTokenizer pre_tokenizer_;
  TokenDecoder decoder_;
  AddedTokenMatcher raw_matcher_;         // on the text as it comes
  AddedTokenMatcher normalized_matcher_;  // on what lies between, normalized
  absl::flat_hash_map<std::string, TokenId> added_ids_;
  std::vector<TokenText> tokens_;  // by id
  SpecialFrame frame_;
  bool nfc_ = false;
};

absl::StatusOr<std::unique_ptr<Tokenizer>> BpeTokenizer::FromJson(const JsonField& root) {
  RETURN_IF_ERROR(root.CheckObject());
  ASSIGN_OR_RETURN(const JsonField version, root.Member("version"));
  if (!version.is_null() && version.value() != "1.0") return version.Expected("\"1.0\"");
  ASSIGN_OR_RETURN(const JsonField model_field, root.Member("model"));
  ASSIGN_OR_RETURN(BpeModel model, BpeModel::FromJson(model_field));
  ASSIGN_OR_RETURN(const JsonField pre_tokenizer_field, root.Member("pre_tokenizer"));
  ASSIGN_OR_RETURN(PreTokenizer pre_tokenizer, PreTokenizer::FromJson(pre_tokenizer_field));
  ASSIGN_OR_RETURN(const JsonField decoder_field, root.Member("decoder"));
  ASSIGN_OR_RETURN(TokenDecoder decoder, TokenDecoder::FromJson(decoder_field));
  std::unique_ptr<BpeTokenizer> out(new BpeTokenizer(std::move(model), std::move(pre_tokenizer), std::move(decoder)));

  ASSIGN_OR_RETURN(const JsonField normalizer_field, root.Member("normalizer"));
  ASSIGN_OR_RETURN(out->nfc_, ReadNormalizer(normalizer_field));
  ASSIGN_OR_RETURN(const JsonField added_field, root.Member("added_tokens"));
  ASSIGN_OR_RETURN(const std::vector<AddedToken> added, ReadAddedTokens(added_field, out->model_, out->nfc_));
  RETURN_IF_ERROR(out->SetTokens(added_field, added));
  ASSIGN_OR_RETURN(const JsonField post_field, root.Member("post_processor"));
  bool seen_template = false;
  RETURN_IF_ERROR(ReadPostProcessor(post_field, out->vocab_size() - 1, seen_template, out->frame_));
  return std::unique_ptr<Tokenizer>(std::move(out));
}

absl::Status BpeTokenizer::SetTokens(const JsonField& added_field, const std::vector<AddedToken>& added) {
  TokenId highest_id = model_.highest_id();
  for (const AddedToken& token : added) highest_id = std::max(highest_id, token.id);
  tokens_.resize(highest_id + 1);
  for (const auto& [token, id] : model_.tokens()) tokens_[id].text = token;
  absl::flat_hash_map<std::string, bool> special_contents;
  for (size_t i = 0; i < added.size(); ++i) {
    const AddedToken& token = added[i];
    std::optional<std::string>& text = tokens_[token.id].text;
    if (text && *text != token.content) {
      return added_field.Element(i).Error(absl::StrFormat("the id %d belongs to another token already", token.id));
    }
    text = token.pattern;  // the normalized form, where there is one
    (token.normalized ? normalized_matcher_ : raw_matcher_).Add(token);
    added_ids_.emplace(token.content, token.id);
    if (token.special) special_contents.emplace(token.content, true);
  }
  // `tokenizers` tells special tokens by their text.
  for (TokenText& token : tokens_) token.special = token.text && special_contents.contains(*token.text);
  return absl::OkStatus();
}

std::vector<TokenId> BpeTokenizer::Encode(absl::string_view text, bool add_special_tokens) const {
  std::string repaired;
  if (ValidUtf8Prefix(text) != text.size()) {
    repaired = ReplaceInvalidUtf8(text);
    text = repaired;
  }
  std::vector<TokenId> ids;
  if (add_special_tokens) ids = frame_.before;
  std::vector<Segment> raw, normalized;
  BpeModel::Scratch scratch;
  Pieces pieces;
  raw_matcher_.Cut(text, raw);
  for (const Segment& outer : raw) {
    if (outer.id >= 0) {
      ids.push_back(outer.id);
      continue;
    }
    const std::string nfc = nfc_ ? NormalizeNfc(outer.text) : std::string();
    normalized.clear();
    normalized_matcher_.Cut(nfc_ ? absl::string_view(nfc) : outer.text, normalized);
    for (const Segment& inner : normalized) {
      if (inner.id >= 0) {
        ids.push_back(inner.id);
        continue;
      }
      pieces.clear();
      pre_tokenizer_.Split(inner.text, pieces);
      for (const absl::string_view piece : pieces.slices) model_.Encode(piece, scratch, ids);
    }
  }
  if (add_special_tokens) ids.insert(ids.end(), frame_.after.begin(), frame_.after.end());
  return ids;
}

absl::StatusOr<std::string> BpeTokenizer::Decode(std::span<const TokenId> ids, bool skip_special_tokens) const {
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= vocab_size() || !tokens_[ids[i]].text) {
      return absl::InvalidArgumentError(
          absl::StrFormat("token %d of %d: expected an id of the vocabulary (0 to %d), got %d", i, ids.size(),
                          vocab_size() - 1, ids[i]));
    }
    const TokenText& token = tokens_[ids[i]];
    if (!skip_special_tokens || !token.special) tokens.push_back(*token.text);
  }
  return decoder_.Decode(std::move(tokens));
}

TokenId BpeTokenizer::TokenToId(absl::string_view token) const {
  const auto it = added_ids_.find(token);
  return it != added_ids_.end() ? it->second : model_.Find(token);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::FromFile(const std::string& tokenizer_json_path) {
  ASSIGN_OR_RETURN(const std::string content, ReadFile(tokenizer_json_path, kMaxFileBytes));
  ASSIGN_OR_RETURN(const nlohmann::json json, ParseJson(content, tokenizer_json_path, kLimits));
  return BpeTokenizer::FromJson(JsonField(json, tokenizer_json_path));
}

std::string DecodeLossy(const Tokenizer& tokenizer, std::span<const TokenId> ids, bool skip_special_tokens) {
  const auto known = [&](TokenId id) { return tokenizer.Decode(std::span(&id, 1), false).ok(); };
  std::string text;
  while (!ids.empty()) {
    // A run of known ids is decoded as one: a character may be spread over several tokens.
    const size_t count = static_cast<size_t>(std::find_if_not(ids.begin(), ids.end(), known) - ids.begin());
    if (count > 0) text += *tokenizer.Decode(ids.first(count), skip_special_tokens);
    if (count == ids.size()) break;
    text += "\uFFFD";
    ids = ids.subspan(count + 1);
  }
  return text;
}

}  // namespace tactus
