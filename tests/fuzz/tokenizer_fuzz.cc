// tokenizer.json and, after a NUL, a text. What is accepted encodes to ids of the vocabulary, which decode.
#include <vector>

#include "common/tokenizer/tokenizer.h"
#include "tests/fuzz/fuzz.h"

namespace tactus::fuzz {

void FuzzTokenizerJson(absl::string_view input) {
  static InputFile* const file = new InputFile;
  const auto [json, text] = SplitAtNul(input);
  file->Write(json);
  const absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::FromFile(file->path());
  if (!tokenizer.ok()) return;
  for (const bool special : {false, true}) {
    const std::vector<TokenId> ids = (*tokenizer)->Encode(text, special);
    for (const TokenId id : ids) Require(id >= 0 && id < (*tokenizer)->vocab_size(), "an id is in the vocabulary");
    Require((*tokenizer)->Decode(ids, special).ok(), "what was encoded can be decoded");
    (void)DecodeLossy(**tokenizer, ids, special);
  }
}

}  // namespace tactus::fuzz
