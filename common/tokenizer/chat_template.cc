#include "common/tokenizer/chat_template.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "common/base/file.h"
#include "common/base/json_field.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "common/base/strict_json.h"
#include "common/tokenizer/chat_families.h"

namespace tactus {
namespace {

constexpr size_t kMaxFileBytes = size_t{16} << 20;

// Known templates, by SHA-256 of their canonical text (see Canonical), for plain messages without tools.
// qwen2.5: its default system message, which differs between checkpoints, taken out.
constexpr char kQwen25Sha[] = "0b13fb322ccd9216b4b6ff11bc10d39f5919ca11ef9ef26b2470497a8dd15fa7";
constexpr char kQwen3Sha[] = "edcd73b0e30a780c1d6f3e060c07396def3c3fa55a2c55197b10f99d1dde83e1";
constexpr char kQwen3FirstSha[] = "2df317a15cbc983d9602cc391d33be17237d47ec7eb11ead80fae277143958aa";  // of April 2025
constexpr char kQwen3Instruct2507Sha[] = "aa39eed4cbfdd57aeaab518e83d06945f00df6afefba6eb985b6b85060cade95";
constexpr char kLlama3Sha[] = "ba03a121d097859c7b5b9cd03af99aafe95275210d2876f642ad9929a150f122";

constexpr char kMistralNemoSha[] = "1127255163dd25a2fd472f9901035aa9e78dc77ca33efdd010f5c8ea87e5d436";
constexpr char kOlmo2Sha[] = "fe689ffbd6a4e2d0532d7480696b065b10e0e1eff3f9b9fc4bea415761e4bf4a";

constexpr char kPlain[] = "{% for message in messages %}{{ message['content'] }}{% endfor %}";

// SmolLM2 and Qwen2: the messages in ChatML, with a default system message before a first message that is none. Plain
// ChatML is the same without that part.
constexpr char kChatMlHead[] = "{% for message in messages %}";
constexpr char kChatMlDefaultHead[] = "{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n";
constexpr char kChatMlDefaultTail[] = "<|im_end|>\n' }}{% endif %}";
constexpr char kChatMlTail[] =
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

// Inside Jinja's quotes a newline may stand as itself or as \n; files differ in that only.
std::string Canonical(absl::string_view source) {
  return absl::StrReplaceAll(absl::StripAsciiWhitespace(source), {{"\\n", "\n"}});
}

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
    RETURN_IF_ERROR(CheckChatMessages(messages));
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

 private:
  enum class Slot { kNone, kSystem, kUser };
  struct Part {
    std::string literal;  // stands before the slot
    Slot slot;
  };
  std::vector<Part> parts_;
};

// The default system message of a ChatML template, or nothing when the text is not one. The outer optional says which.
std::optional<std::optional<std::string>> MatchChatMl(absl::string_view text) {
  if (!absl::ConsumePrefix(&text, kChatMlHead) || !absl::ConsumeSuffix(&text, kChatMlTail)) return std::nullopt;
  if (text.empty()) return std::optional<std::string>();
  if (!absl::ConsumePrefix(&text, kChatMlDefaultHead) || !absl::ConsumeSuffix(&text, kChatMlDefaultTail)) {
    return std::nullopt;
  }
  if (text.find_first_of("'\\{}") != absl::string_view::npos) return std::nullopt;  // not a plain literal
  return std::string(text);
}

// The same for Qwen2.5's, where the message stands twice.
std::optional<std::string> MatchQwen25(const std::string& text) {
  constexpr absl::string_view kBefore = "{{- '<|im_start|>system\n", kAfter = "<|im_end|>\n' }}";
  for (size_t at = text.find(std::string(kBefore)); at != std::string::npos;
       at = text.find(std::string(kBefore), at + 1)) {
    const size_t start = at + kBefore.size();
    const size_t end = text.find(std::string(kAfter), start);
    if (end == std::string::npos) break;
    const std::string message = text.substr(start, end - start);
    if (message.empty() || message.find_first_of("'\\{}") != std::string::npos) continue;
    if (Sha256Hex(absl::StrReplaceAll(text, {{message, ""}})) == kQwen25Sha) return message;
  }
  return std::nullopt;
}

// What a model folder says; texts are empty where it says nothing.
struct TemplateSource {
  std::string path;  // of the file that the source stands in
  std::string source;
  std::string bos, eos;
};

std::unique_ptr<ChatTemplate> Recognise(const TemplateSource& from) {
  const std::string text = Canonical(from.source);
  if (text == kPlain) return MakePlainTemplate();
  if (auto default_system = MatchChatMl(text)) return MakeChatMlTemplate(*std::move(default_system));
  if (auto default_system = MatchQwen25(text)) return MakeChatMlTemplate(*std::move(default_system));
  const std::string sha = Sha256Hex(text);
  if (sha == kQwen3Sha || sha == kQwen3FirstSha) return MakeQwen3Template();
  if (sha == kQwen3Instruct2507Sha) return MakeChatMlTemplate(std::nullopt);
  if (sha == kLlama3Sha) return MakeLlama3Template(from.bos);
  if (sha == kMistralNemoSha) return MakeMistralNemoTemplate(from.bos, from.eos);
  if (sha == kOlmo2Sha) return MakeOlmo2Template(from.bos, from.eos);
  return nullptr;
}

absl::StatusOr<std::string> ReadTemplateField(const JsonField& field) {
  if (field.is_null() || field.value().is_string()) return field.is_null() ? "" : field.String();
  ASSIGN_OR_RETURN(const size_t size, field.ArraySize());  // [{"name": "default", "template": "…"}, …]
  for (size_t i = 0; i < size; ++i) {
    JSON_MEMBER(const std::string name, field.Element(i), "name", String());
    if (name != "default") continue;
    JSON_MEMBER(std::string source, field.Element(i), "template", String());
    return source;
  }
  return field.Expected("a template named \"default\"");
}

// A special token's text, which may stand in an object of its own.
absl::StatusOr<std::string> ReadTokenField(const JsonField& root, const char* name) {
  ASSIGN_OR_RETURN(const JsonField token, root.Member(name));
  if (token.is_null()) return std::string();
  if (!token.value().is_object()) return token.String();
  JSON_MEMBER(std::string content, token, "content", String());
  return content;
}

absl::StatusOr<TemplateSource> ReadTemplateSource(const std::string& folder) {
  TemplateSource out;
  out.path = folder + "/tokenizer_config.json";
  absl::StatusOr<std::string> config = ReadFile(out.path, kMaxFileBytes);
  if (config.ok()) {
    ASSIGN_OR_RETURN(const nlohmann::json json, ParseJson(*config, out.path, {.max_bytes = kMaxFileBytes}));
    const JsonField root(json, out.path);
    ASSIGN_OR_RETURN(const JsonField source, root.Member("chat_template"));
    ASSIGN_OR_RETURN(out.source, ReadTemplateField(source));
    ASSIGN_OR_RETURN(out.bos, ReadTokenField(root, "bos_token"));
    ASSIGN_OR_RETURN(out.eos, ReadTokenField(root, "eos_token"));
  } else if (!absl::IsNotFound(config.status())) {
    return config.status();
  }
  // The file wins over the field, as in `transformers`.
  absl::StatusOr<std::string> jinja = ReadFile(folder + "/chat_template.jinja", kMaxFileBytes);
  if (jinja.ok()) {
    out.path = folder + "/chat_template.jinja";
    out.source = *std::move(jinja);
  } else if (!absl::IsNotFound(jinja.status())) {
    return jinja.status();
  }
  return out;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ChatTemplate>> ChatTemplate::FromModelFolder(const std::string& folder,
                                                                            const std::string& literal) {
  if (!literal.empty()) {
    if (!absl::StrContains(literal, "{user}")) {
      return absl::InvalidArgumentError("model.prompt_template: expected {user} where the question goes");
    }
    return std::make_unique<LiteralTemplate>(literal);
  }
  ASSIGN_OR_RETURN(const TemplateSource source, ReadTemplateSource(folder));
  std::unique_ptr<ChatTemplate> recognised = Recognise(source);
  if (recognised != nullptr) return recognised;
  return absl::UnimplementedError(absl::StrCat(
      source.path, ": ", source.source.empty() ? "there is no chat template" : "this chat template is not a known one",
      " (known are those of SmolLM2, Qwen2, Qwen2.5, Qwen3, Llama-3, Mistral-Nemo and OLMo 2); set "
      "model.prompt_template to the literal "
      "prompt, with {system} and {user} in it"));
}

}  // namespace tactus
