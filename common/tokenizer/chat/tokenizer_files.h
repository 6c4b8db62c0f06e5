// What a model folder's files say beside tokenizer.json, with the precedence that `transformers` gives them.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tactus {

struct TokenizerFiles {
  // "bos_token" and the like, to their texts. special_tokens_map.json counts where tokenizer_config.json has no
  // added_tokens_decoder; then its word is the last.
  std::vector<std::pair<std::string, std::string>> special_tokens;
  // Of chat_template.jinja, else tokenizer_config.json's chat_template (of a list the one named "default"), else
  // chat_template.json's. Empty: there is none.
  std::string chat_template;
  std::string chat_template_path;  // the file it stands in; where there is none, the one it is missed in
  // Where two files say different things: a sentence each that names both, and which one counts.
  std::vector<std::string> disagreements;

  // Empty: no file names it.
  std::string SpecialToken(absl::string_view name) const;
};

// Reads those files that are there. Blocking. InvalidArgument names the file and the field.
absl::StatusOr<TokenizerFiles> ReadTokenizerFiles(const std::string& folder);

}  // namespace tactus
