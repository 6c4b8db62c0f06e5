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

  std::string AnswerEnd() const override {
    constexpr absl::string_view kAnswer = "an answer of Tactus";
    const absl::StatusOr<std::string> text =
        RenderWith({{"user", "a question"}, {"assistant", std::string(kAnswer)}}, /*generation_prompt=*/false);
    const size_t at = text.ok() ? text->rfind(std::string(kAnswer)) : std::string::npos;
    return at == std::string::npos ? "" : text->substr(at + kAnswer.size());
  }

  bool tells_time() const override { return parsed_->tells_time(); }

 private:
  absl::StatusOr<std::string> RenderWith(const std::vector<ChatMessage>& messages, bool generation_prompt) const {
    nlohmann::ordered_json names;
    for (const auto& [name, text] : special_tokens_) names[name] = text;
    auto& list = names["messages"] = nlohmann::ordered_json::array();
    for (const ChatMessage& message : messages) {
      list.push_back({{"role", message.role}, {"content", message.content}});
    }
    names["tools"] = nullptr;
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
