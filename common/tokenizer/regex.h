// The splitting regexes of tokenizer.json, with the meaning that Hugging Face `tokenizers` gives them (Oniguruma),
// run by PCRE2.
//
// The two engines differ in their Unicode versions, in what \s is and in case folding, so a pattern is not handed over
// as it is: it is parsed, refused unless it stays within what means the same in both, and written anew with its classes
// spelled out as code points. Accepted: literals, \p{L} \p{N} \p{M} \p{Lu} \p{Ll} \p{Lt} \p{Lm} \p{Lo} \s and their
// negations, \r \n \t, classes of these, |, (?:…), (?i:…) of ASCII, (?=…), (?!…), and ? * + {m,n} with lazy ? and
// possessive + on single characters (a group may only carry ?). That covers GPT-2, cl100k, Llama-3, Qwen2, Qwen3,
// Tekken (Mistral-Nemo).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tactus {

struct ByteRange {
  size_t first, last;  // [first, last)
};

// The pattern as PCRE2 (UTF mode, no UCP) has to see it. InvalidArgument: what is not accepted, and at which byte.
absl::StatusOr<std::string> TranslateRegex(absl::string_view pattern);

// The pattern that matches `literal` and nothing else.
std::string LiteralRegex(absl::string_view literal);

// Immutable, thread-safe, copies share the compiled program.
class SplitRegex {
 public:
  // `pcre2_pattern` comes from one of the two functions above. InvalidArgument: it does not compile, or it matches
  // the empty text.
  static absl::StatusOr<SplitRegex> Compile(const std::string& pcre2_pattern);

  // Appends the non-overlapping matches from left to right. `text` is valid UTF-8. A pattern that needs more than
  // kMatchLimit steps for one match ends the search with a logged error; the patterns above never do: they are linear.
  void FindAll(absl::string_view text, std::vector<ByteRange>& matches) const;

 private:
  struct Program;
  explicit SplitRegex(std::shared_ptr<const Program> program) : program_(std::move(program)) {}
  std::shared_ptr<const Program> program_;
};

}  // namespace tactus
