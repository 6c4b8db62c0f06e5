#include "tools/batch/prompt_jsonl.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace tactus {
namespace {

absl::StatusOr<std::vector<TokenId>> Encode(const JsonField& line, const Tokenizer& tokenizer,
                                            const absl::StatusOr<std::unique_ptr<ChatTemplate>>& chat_template) {
  ASSIGN_OR_RETURN(const JsonField ids, line.Member("prompt_ids"));
  ASSIGN_OR_RETURN(const JsonField prompt, line.Member("prompt"));
  ASSIGN_OR_RETURN(const JsonField messages, line.Member("messages"));
  if (ids.is_null() + prompt.is_null() + messages.is_null() != 2) {
    return line.Expected("one of prompt, messages and prompt_ids");
  }
  if (!ids.is_null()) return ids.Indices();
  if (!messages.is_null()) return EncodeMessages(messages, tokenizer, chat_template);
  ASSIGN_OR_RETURN(const std::string text, prompt.String());
  return tokenizer.Encode(text, /*add_special_tokens=*/true);
}

}  // namespace

absl::Status CheckIds(const JsonField& line, absl::string_view what, std::span<const TokenId> ids, int64_t vocab_size) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < vocab_size) continue;
    return line.Error(absl::StrCat(what, "[", i, "] is ", ids[i], ", expected an id below the model's ", vocab_size));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<TokenId>> EncodeMessages(
    const JsonField& messages, const Tokenizer& tokenizer,
    const absl::StatusOr<std::unique_ptr<ChatTemplate>>& chat_template) {
  RETURN_IF_ERROR(chat_template.status());
  ASSIGN_OR_RETURN(const size_t size, messages.ArraySize());
  std::vector<ChatMessage> chat(size);
  for (size_t i = 0; i < size; ++i) {
    const JsonField message = messages.Element(i);
    RETURN_IF_ERROR(message.CheckKeys({}, {"role", "content"}));
    JSON_MEMBER(chat[i].role, message, "role", String());
    JSON_MEMBER(chat[i].content, message, "content", String());
  }
  const absl::StatusOr<std::string> text = (*chat_template)->Render(chat);
  if (!text.ok()) return absl::InvalidArgumentError(absl::StrCat(messages.source(), ": ", text.status().message()));
  return tokenizer.Encode(*text, /*add_special_tokens=*/false);
}

PromptReader::PromptReader(const Tokenizer& tokenizer,
                           const absl::StatusOr<std::unique_ptr<ChatTemplate>>& chat_template,
                           const PromptLimits& limits, std::istream& in, absl::string_view input_name)
    : tokenizer_(tokenizer), chat_template_(chat_template), limits_(limits), lines_(in, input_name) {}

absl::StatusOr<std::optional<PromptLine>> PromptReader::Next() {
  ASSIGN_OR_RETURN(const bool more, lines_.Next());
  if (!more) return std::nullopt;
  ASSIGN_OR_RETURN(const nlohmann::json json, lines_.Parse());
  const JsonField line(json, lines_.where());
  RETURN_IF_ERROR(line.CheckKeys({"id"}, {"prompt", "messages", "prompt_ids"}));
  PromptLine prompt;
  JSON_MEMBER(prompt.id_json, line, "id", Id());
  ASSIGN_OR_RETURN(prompt.prompt_ids, Encode(line, tokenizer_, chat_template_));
  if (prompt.prompt_ids.empty()) return line.Expected("a prompt of at least one token");
  RETURN_IF_ERROR(CheckIds(line, "prompt_ids", prompt.prompt_ids, limits_.vocab_size));
  if (static_cast<int64_t>(prompt.prompt_ids.size()) + limits_.max_tokens > limits_.max_position) {
    return line.Error(absl::StrCat("the prompt's ", prompt.prompt_ids.size(), " tokens and --max-tokens ",
                                   limits_.max_tokens, " exceed the model's ", limits_.max_position, " positions"));
  }
  return prompt;
}

absl::Status PromptReader::CheckRest() {
  while (true) {
    ASSIGN_OR_RETURN(const std::optional<PromptLine> line, Next());
    if (!line.has_value()) return absl::OkStatus();
  }
}

}  // namespace tactus
