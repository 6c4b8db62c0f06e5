#include "common/tasks/prompt_encoder.h"

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "proto/config.pb.h"

namespace tactus {

absl::StatusOr<std::unique_ptr<PromptEncoder>> PromptEncoder::Create(const config::ModelOptions& options) {
  ASSIGN_OR_RETURN(std::unique_ptr<Tokenizer> tokenizer,
                   Tokenizer::FromFile(absl::StrCat(options.path(), "/tokenizer.json")));
  ASSIGN_OR_RETURN(std::unique_ptr<ChatTemplate> chat,
                   ChatTemplate::FromModelFolder(options.path(), options.prompt_template()));
  return std::unique_ptr<PromptEncoder>(
      new PromptEncoder(std::move(tokenizer), std::move(chat), options.system_prompt()));
}

absl::StatusOr<std::vector<TokenId>> PromptEncoder::Encode(const TaskExample& example, int max_prompt_tokens) const {
  const std::string& system = system_.empty() ? example.system : system_;
  std::vector<ChatMessage> messages;
  if (!system.empty()) messages.push_back({.role = "system", .content = system});
  messages.push_back({.role = "user", .content = example.user});
  ASSIGN_OR_RETURN(const std::string text, chat_->Render(messages));
  // The template writes the special tokens itself.
  std::vector<TokenId> ids = tokenizer_->Encode(text, /*add_special_tokens=*/false);
  if (ids.empty()) return absl::InvalidArgumentError("a prompt is empty: expected at least one token");
  if (ids.size() > static_cast<size_t>(max_prompt_tokens)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a prompt has ", ids.size(), " tokens, more than rollout.max_prompt_tokens = ", max_prompt_tokens));
  }
  return ids;
}

}  // namespace tactus
