// Prompts as JSON lines, the input of `tactus generate` and `tactus rhythm-study`:
// {"id", "prompt": string} (taken as it is, with the special tokens the tokenizer adds),
// {"id", "messages": [{"role", "content"}]} (through the chat template) or {"id", "prompt_ids": [int]};
// `id` is a string or an integer and comes back as it is.
#pragma once

#include <cstdint>
#include <istream>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/json_lines.h"
#include "common/tokenizer/chat/chat_template.h"
#include "common/tokenizer/tokenizer.h"

namespace tactus {

// The ids of [{"role", "content"}] through the chat template, the generation prompt added. `chat_template` may be an
// error: it is returned. InvalidArgument names the place.
absl::StatusOr<std::vector<TokenId>> EncodeMessages(const JsonField& messages, const Tokenizer& tokenizer,
                                                    const absl::StatusOr<std::unique_ptr<ChatTemplate>>& chat_template);

// InvalidArgument: an id that the model does not know; names the line and which of `what` it is.
absl::Status CheckIds(const JsonField& line, absl::string_view what, std::span<const TokenId> ids, int64_t vocab_size);

struct PromptLine {
  std::string id_json;  // as it came
  std::vector<TokenId> prompt_ids;
};

struct PromptLimits {
  int max_tokens = 0;  // of an answer
  int64_t max_position = 0;
  int64_t vocab_size = 0;
};

// Reads a line at a time; keeps references to all it is given. Not thread-safe; blocks on `in`.
class PromptReader {
 public:
  // `chat_template` may be an error: it is returned when a line has messages.
  PromptReader(const Tokenizer& tokenizer, const absl::StatusOr<std::unique_ptr<ChatTemplate>>& chat_template,
               const PromptLimits& limits, std::istream& in, absl::string_view input_name);

  // The next prompt, at least one token; nullopt at the end. Blank lines are skipped. InvalidArgument:
  // a bad line, by number, an id that the model does not know, or a prompt that leaves no room for an answer.
  absl::StatusOr<std::optional<PromptLine>> Next();
  // Reads what is left, and keeps nothing. The same errors.
  absl::Status CheckRest();

 private:
  const Tokenizer& tokenizer_;
  const absl::StatusOr<std::unique_ptr<ChatTemplate>>& chat_template_;
  const PromptLimits limits_;
  JsonLines lines_;
};

}  // namespace tactus
