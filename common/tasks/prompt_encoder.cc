#include "common/tasks/prompt_encoder.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/storage/local_copy.h"
#include "proto/config.pb.h"

namespace tactus {

absl::StatusOr<std::unique_ptr<PromptEncoder>> PromptEncoder::Create(const config::ModelOptions& options) {
  ASSIGN_OR_RETURN(const std::string path, LocalModelFolder(options.path()));
  ASSIGN_OR_RETURN(std::unique_ptr<Tokenizer> tokenizer, Tokenizer::FromFile(absl::StrCat(path, "/tokenizer.json")));
  ASSIGN_OR_RETURN(std::unique_ptr<ChatTemplate> chat, ChatTemplate::FromModelFolder(path, options.prompt_template()));
  return std::unique_ptr<PromptEncoder>(
      new PromptEncoder(std::move(tokenizer), std::move(chat), options.system_prompt()));
}

absl::StatusOr<std::vector<TokenId>> PromptEncoder::Encode(const TaskExample& example,
                                                           const PromptBounds& bounds) const {
  const auto error = [&example](const auto&... what) {
    return absl::InvalidArgumentError(absl::StrCat(example.where, example.where.empty() ? "" : ": ", what...));
  };
  const std::string& system = system_.empty() ? example.system : system_;
  std::vector<ChatMessage> messages;
  if (!system.empty()) messages.push_back({.role = "system", .content = system});
  messages.insert(messages.end(), example.earlier.begin(), example.earlier.end());
  messages.push_back({.role = "user", .content = example.user});
  const absl::StatusOr<std::string> text =
      example.tools_json.empty() ? chat_->Render(messages) : chat_->RenderWithTools(messages, example.tools_json);
  if (!text.ok()) return error(text.status().message());
  // The template writes the special tokens itself.
  std::vector<TokenId> ids = tokenizer_->Encode(*text, /*add_special_tokens=*/false);
  if (ids.empty()) return error("the prompt is empty: expected at least one token");
  if (ids.size() > static_cast<size_t>(bounds.max_tokens)) {
    return error("the prompt has ", ids.size(), " tokens, more than rollout.max_prompt_tokens = ", bounds.max_tokens);
  }
  const auto unknown = std::ranges::find_if(ids, [&bounds](TokenId id) { return id >= bounds.vocab_size; });
  if (unknown != ids.end()) {
    return error("the prompt holds token ", *unknown, ", which the model does not know: its vocab_size is ",
                 bounds.vocab_size);
  }
  return ids;
}

}  // namespace tactus
