// Byte-level BPE, as tokenizer.json describes it: the same ids as Hugging Face `tokenizers` for any bytes.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/data/types.h"

namespace tactus {

// Immutable after loading: thread-safe. Time is linear in the input's length up to a logarithm.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // NotFound: no such file. InvalidArgument: names the file, the JSON field and what was expected
  // (an unsupported pre-tokenizer, normalizer, model or decoder is such an error, never ignored). The file's truncation
  // and padding are not applied, as `transformers` does not unless asked to.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromFile(const std::string& tokenizer_json_path);

  // Added (special) tokens in the text become their ids, as `tokenizers` does. With add_special_tokens the
  // post-processor's template is applied. Invalid UTF-8 is taken as `tokenizers` takes bytes decoded with U+FFFD
  // replacement.
  virtual std::vector<TokenId> Encode(absl::string_view text, bool add_special_tokens) const = 0;

  // InvalidArgument: an id outside the vocabulary.
  virtual absl::StatusOr<std::string> Decode(std::span<const TokenId> ids, bool skip_special_tokens) const = 0;

  virtual int vocab_size() const = 0;  // highest id + 1
  // -1 when there is no such token.
  virtual TokenId TokenToId(absl::string_view token) const = 0;
};

// For people to read: an id outside the vocabulary, which a model with a padded one can sample, becomes U+FFFD.
std::string DecodeLossy(const Tokenizer& tokenizer, std::span<const TokenId> ids, bool skip_special_tokens);

}  // namespace tactus
