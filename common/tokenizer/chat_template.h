// Turns messages into the text a model was trained to see: the chat templates of the families we support.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace tactus {

struct ChatMessage {
  std::string role;  // "system", "user" or "assistant"
  std::string content;
};

// Immutable, thread-safe.
class ChatTemplate {
 public:
  virtual ~ChatTemplate() = default;

  // Reads tokenizer_config.json (chat_template) or chat_template.jinja of a model folder and recognises the template:
  // ChatML (SmolLM2 with its default system message, Qwen2/2.5 with theirs, Qwen3), Llama-3 (not 3.1 and later, which
  // tell the date), Mistral-Nemo, OLMo 2, and that of the quick-start models, which is the contents alone. We do not
  // run Jinja. `literal` (model.prompt_template), when not empty, replaces it: {system} and {user} are filled in.
  // Unimplemented: the template is not recognised; the message says how to give a literal one.
  static absl::StatusOr<std::unique_ptr<ChatTemplate>> FromModelFolder(const std::string& folder,
                                                                       const std::string& literal);

  // The prompt text with the generation prompt added. InvalidArgument: an unknown role, or an order the template
  // refuses.
  virtual absl::StatusOr<std::string> Render(const std::vector<ChatMessage>& messages) const = 0;
};

}  // namespace tactus
