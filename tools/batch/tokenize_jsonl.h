// The work of `tactus tokenize`: JSON lines of texts or messages in, JSON lines of ids out.
//
// In:  {"id", "text"} or {"id", "messages": [{"role", "content"}]}; `id` is a string or an integer and comes back as it
//      is; any other key is an error. Empty lines are skipped.
// Out: {"id", "ids": [int], "text": the decoded ids, special tokens included}, in the order of the input.
//
// A text is encoded with the special tokens that the tokenizer adds, as Hugging Face's tokenizer(text) does by default.
// Messages go through the chat template, generation prompt added, and get no others, as its apply_chat_template does.
#pragma once

#include <istream>
#include <memory>
#include <ostream>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/tokenizer/chat/chat_template.h"
#include "common/tokenizer/tokenizer.h"

namespace tactus {

// Blocking; one line in memory at a time, of at most 64 MiB. `chat_template` may be an error: it is returned when a
// line has messages. `input_name` is what errors call the input. InvalidArgument: a bad line, by number, after those
// before it were written. DataLoss: `out` failed.
absl::Status TokenizeJsonl(const Tokenizer& tokenizer,
                           const absl::StatusOr<std::unique_ptr<ChatTemplate>>& chat_template,
                           const std::string& input_name, std::istream& in, std::ostream& out);

}  // namespace tactus
