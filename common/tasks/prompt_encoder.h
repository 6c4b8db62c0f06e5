// From a task's example to the token ids a model is asked with: the one place where prompts become tokens.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/data/types.h"
#include "common/tasks/task.h"
#include "common/tokenizer/chat/chat_template.h"
#include "common/tokenizer/tokenizer.h"

namespace tactus {

struct PromptBounds {
  int max_tokens = 0;      // rollout.max_prompt_tokens
  int64_t vocab_size = 0;  // the model's
};

// Immutable, thread-safe. Owns the tokenizer and the chat template.
class PromptEncoder {
 public:
  // Reads the tokenizer and the chat template of options.path; options.prompt_template replaces the latter,
  // options.system_prompt the task's system message.
  static absl::StatusOr<std::unique_ptr<PromptEncoder>> Create(const config::ModelOptions& options);

  // InvalidArgument, beginning with example.where: no token, too many, or one that the model does not know; or the
  // template refuses the messages.
  absl::StatusOr<std::vector<TokenId>> Encode(const TaskExample& example, const PromptBounds& bounds) const;

  const Tokenizer& tokenizer() const { return *tokenizer_; }
  const ChatTemplate& chat() const { return *chat_; }

 private:
  PromptEncoder(std::unique_ptr<Tokenizer> tokenizer, std::unique_ptr<ChatTemplate> chat, std::string system)
      : tokenizer_(std::move(tokenizer)), chat_(std::move(chat)), system_(std::move(system)) {}

  const std::unique_ptr<Tokenizer> tokenizer_;
  const std::unique_ptr<ChatTemplate> chat_;
  const std::string system_;  // empty = the task's own
};

}  // namespace tactus
