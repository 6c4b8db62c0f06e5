#include "tools/batch/prompt_jsonl.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/base/strict_json.h"
#include "common/tasks/json_fields.h"

namespace tactus {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMaxValues = size_t{1} << 20;

absl::StatusOr<std::vector<ChatMessage>> Messages(const Json& array, const std::string& where) {
  std::vector<ChatMessage> messages;
  for (const Json& one : array) {
    if (!one.is_object() || one.size() != 2 || !one.contains("role") || !one.contains("content")) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, ": messages[", messages.size(), "]: expected an object with role and content"));
    }
    ASSIGN_OR_RETURN(std::string role, JsonString(one, where, "role"));
    ASSIGN_OR_RETURN(std::string content, JsonString(one, where, "content"));
    messages.push_back({std::move(role), std::move(content)});
  }
  return messages;
}

absl::StatusOr<Json> ReadPrompt(const std::string& text, const std::string& where) {
  ASSIGN_OR_RETURN(
      Json line,
      ParseStrictJson(
          text, where,
          {.max_bytes = kMaxJsonLineBytes, .max_depth = 4, .max_values = kMaxValues, .max_string = kMaxJsonLineBytes}));
  const bool two_keys = line.is_object() && line.size() == 2 && line.contains("id");
  if (!two_keys || !(line.contains("prompt") || line.contains("messages") || line.contains("prompt_ids"))) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": expected an object with id and one of prompt, messages and prompt_ids"));
  }
  if (!line.at("id").is_string() && !line.at("id").is_number_integer()) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": id: expected a string or an integer"));
  }
  return line;
}

absl::StatusOr<std::vector<TokenId>> Encode(const Json& line, const std::string& where, const Tokenizer& tokenizer,
                                            const absl::StatusOr<std::unique_ptr<ChatTemplate>>& chat_template) {
  if (line.contains("prompt_ids")) return JsonTokenIds(line, where, "prompt_ids");
  if (line.contains("prompt")) {
    ASSIGN_OR_RETURN(const std::string text, JsonString(line, where, "prompt"));
    return tokenizer.Encode(text, /*add_special_tokens=*/true);
  }
  RETURN_IF_ERROR(chat_template.status());
  ASSIGN_OR_RETURN(const std::vector<ChatMessage> messages, Messages(line.at("messages"), where));
  const absl::StatusOr<std::string> text = (*chat_template)->Render(messages);
  if (!text.ok()) return absl::InvalidArgumentError(absl::StrCat(where, ": ", text.status().message()));
  return tokenizer.Encode(*text, /*add_special_tokens=*/false);
}

}  // namespace

PromptReader::PromptReader(const Tokenizer& tokenizer,
                           const absl::StatusOr<std::unique_ptr<ChatTemplate>>& chat_template,
                           const PromptLimits& limits, std::istream& in, absl::string_view input_name)
    : tokenizer_(tokenizer), chat_template_(chat_template), limits_(limits), in_(in), input_name_(input_name) {}

absl::StatusOr<std::optional<PromptLine>> PromptReader::Next() {
  std::string where;
  do {
    where = absl::StrCat(input_name_, ":", ++line_number_);
    ASSIGN_OR_RETURN(const bool more, ReadJsonLine(in_, where, text_));
    if (!more) return std::nullopt;
  } while (absl::StripAsciiWhitespace(text_).empty());
  ASSIGN_OR_RETURN(const Json line, ReadPrompt(text_, where));
  PromptLine prompt;
  prompt.id_json = line.at("id").dump();
  ASSIGN_OR_RETURN(prompt.prompt_ids, Encode(line, where, tokenizer_, chat_template_));
  if (prompt.prompt_ids.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": expected a prompt of at least one token"));
  }
  if (static_cast<int64_t>(prompt.prompt_ids.size()) + limits_.max_tokens > limits_.max_position) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": the prompt's ", prompt.prompt_ids.size(),
                                                   " tokens and --max-tokens ", limits_.max_tokens,
                                                   " exceed the model's ", limits_.max_position, " positions"));
  }
  return prompt;
}

}  // namespace tactus
