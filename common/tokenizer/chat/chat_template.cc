#include "common/tokenizer/chat/chat_template.h"

#include <algorithm>
#include <ctime>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/status_macros.h"
#include "common/base/strict_json.h"
#include "common/tokenizer/chat/tokenizer_files.h"
#include "common/tokenizer/jinja/jinja.h"

namespace tactus {
namespace {

absl::Status NoMessages() { return absl::InvalidArgumentError("messages: expected at least one"); }

// model.prompt_template of a run: text around {system} and {user}, cut up once so that what a message says is never
// taken for a placeholder.
class LiteralTemplate : public ChatTemplate {
 public:
  explicit LiteralTemplate(absl::string_view text) {
    while (!text.empty()) {
      const size_t at = std::min(text.find("{system}"), text.find("{user}"));
      const absl::string_view literal = text.substr(0, at);
      if (at == absl::string_view::npos) {
        parts_.push_back({std::string(literal), Slot::kNone});
        break;
      }
      text.remove_prefix(at);
      const Slot slot = absl::ConsumePrefix(&text, "{system}") ? Slot::kSystem : Slot::kUser;
      if (slot == Slot::kUser) absl::ConsumePrefix(&text, "{user}");
      parts_.push_back({std::string(literal), slot});
    }
  }

  absl::StatusOr<std::string> Render(const std::vector<ChatMessage>& messages) const override {
    if (messages.empty()) return NoMessages();
    const bool has_system = messages[0].role == "system";
    if (messages.size() != (has_system ? 2 : 1) || messages.back().role != "user") {
      return absl::InvalidArgumentError(
          "messages: a literal prompt template takes one user message, with or without a system message before it");
    }
    std::string out;
    for (const Part& part : parts_) {
      out += part.literal;
      if (part.slot == Slot::kUser) out += messages.back().content;
      if (part.slot == Slot::kSystem && has_system) out += messages[0].content;
    }
    return out;
  }

  absl::StatusOr<std::string> RenderBetweenAnswers(const std::vector<ChatMessage>&) const override {
    return absl::InvalidArgumentError(
        "model.prompt_template: a literal prompt template prints one question; in a conversation the environment's "
        "words "
        "are expected as text, not as messages");
  }

  bool literal() const override { return true; }

 private:
  enum class Slot { kNone, kSystem, kUser };
  struct Part {
    std::string literal;  // stands before the slot
    Slot slot;
  };
  std::vector<Part> parts_;
};

std::tm LocalTime() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  return local;
}

class JinjaTemplate : public ChatTemplate {
 public:
  JinjaTemplate(std::unique_ptr<const jinja::Template> parsed, const TokenizerFiles& files)
      : parsed_(std::move(parsed)), path_(files.chat_template_path), special_tokens_(files.special_tokens) {}

  absl::StatusOr<std::string> Render(const std::vector<ChatMessage>& messages) const override {
    if (messages.empty()) return NoMessages();
    return RenderWith(messages, /*generation_prompt=*/true);
  }

  absl::StatusOr<std::string> RenderWithTools(const std::vector<ChatMessage>& messages,
                                              const std::string& tools_json) const override {
    ASSIGN_OR_RETURN(const nlohmann::ordered_json tools, ParseStrictJson(tools_json, "tools"));
    const auto is_object = [](const nlohmann::ordered_json& one) { return one.is_object(); };
    if (!tools.is_array() || tools.empty() || !std::all_of(tools.begin(), tools.end(), is_object)) {
      return absl::InvalidArgumentError("tools: expected a JSON array of objects, one at least");
    }
    ASSIGN_OR_RETURN(const std::string without, Render(messages));
    ASSIGN_OR_RETURN(std::string text, RenderWith(messages, /*generation_prompt=*/true, tools));
    if (text != without) return text;
    return absl::InvalidArgumentError(absl::StrCat(path_, ": the chat template prints no tools"));
  }

  absl::StatusOr<std::string> RenderBetweenAnswers(const std::vector<ChatMessage>& messages) const override {
    if (messages.empty()) return NoMessages();
    ASSIGN_OR_RETURN(std::string text, RenderBehindAnswer(messages, /*generation_prompt=*/true));
    for (size_t i = 0; i < messages.size(); ++i) {
      std::vector<ChatMessage> other = messages;
      other[i].content += "+";
      ASSIGN_OR_RETURN(const std::string changed, RenderBehindAnswer(other, /*generation_prompt=*/true));
      if (changed != text) continue;
      return absl::InvalidArgumentError(absl::StrCat(path_,
                                                     ": the chat template prints nothing of a message of the role \"",
                                                     messages[i].role, "\" behind an answer"));
    }
    return text;
  }

  std::string AnswerEnd() const override { return RenderBehindAnswer({}, /*generation_prompt=*/false).value_or(""); }

  bool tells_time() const override { return parsed_->tells_time(); }

 private:
  // What stands behind an answer to a question that is followed by `messages`. What was said before an answer does not
  // change what a template prints behind it, so a stand-in will do.
  absl::StatusOr<std::string> RenderBehindAnswer(const std::vector<ChatMessage>& messages,
                                                 bool generation_prompt) const {
    constexpr absl::string_view kAnswer = "an answer of Tactus";
    std::vector<ChatMessage> all = {{"user", "a question"}, {"assistant", std::string(kAnswer)}};
    all.insert(all.end(), messages.begin(), messages.end());
    ASSIGN_OR_RETURN(const std::string text, RenderWith(all, generation_prompt));
    const size_t at = text.find(std::string(kAnswer));
    if (at != std::string::npos) return text.substr(at + kAnswer.size());
    return absl::InvalidArgumentError(absl::StrCat(path_, ": the chat template does not print an assistant's answer"));
  }

  absl::StatusOr<std::string> RenderWith(const std::vector<ChatMessage>& messages, bool generation_prompt,
                                         const nlohmann::ordered_json& tools = nullptr) const {
    nlohmann::ordered_json names;
    for (const auto& [name, text] : special_tokens_) names[name] = text;
    auto& list = names["messages"] = nlohmann::ordered_json::array();
    for (const ChatMessage& message : messages) {
      auto& one = list.emplace_back(nlohmann::ordered_json{{"role", message.role}, {"content", message.content}});
      if (!message.name.empty()) one["name"] = message.name;
      if (!message.tool_call_id.empty()) one["tool_call_id"] = message.tool_call_id;
    }
    names["tools"] = tools;
    names["documents"] = nullptr;
    names["add_generation_prompt"] = generation_prompt;
    absl::StatusOr<std::string> text = parsed_->Render(names, LocalTime());
    if (!text.ok()) return absl::InvalidArgumentError(absl::StrCat(path_, ": ", text.status().message()));
    return text;
  }

  const std::unique_ptr<const jinja::Template> parsed_;
  const std::string path_;
  const std::vector<std::pair<std::string, std::string>> special_tokens_;
};

}  // namespace

absl::StatusOr<std::string> ChatTemplate::RenderWithTools(const std::vector<ChatMessage>&, const std::string&) const {
  return absl::InvalidArgumentError("model.prompt_template: a literal prompt template prints no tools");
}

absl::StatusOr<std::unique_ptr<ChatTemplate>> ChatTemplate::FromModelFolder(const std::string& folder,
                                                                            const std::string& literal) {
  if (!literal.empty()) {
    if (!absl::StrContains(literal, "{user}")) {
      return absl::InvalidArgumentError("model.prompt_template: expected {user} where the question goes");
    }
    return std::make_unique<LiteralTemplate>(literal);
  }
  constexpr absl::string_view kWayOut =
      "; model.prompt_template can give the prompt as a literal text with {system} and {user} in it";
  ASSIGN_OR_RETURN(const TokenizerFiles files, ReadTokenizerFiles(folder));
  if (files.chat_template.empty()) {
    return absl::UnimplementedError(absl::StrCat(files.chat_template_path, ": there is no chat template", kWayOut));
  }
  absl::StatusOr<std::unique_ptr<const jinja::Template>> parsed = jinja::Template::Parse(files.chat_template);
  if (!parsed.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(files.chat_template_path, ": the chat template, ", parsed.status().message(), kWayOut));
  }
  return std::make_unique<JinjaTemplate>(*std::move(parsed), files);
}

}  // namespace tactus
