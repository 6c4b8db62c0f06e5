#include "common/tokenizer/chat_families.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "common/base/status_macros.h"
#include "common/tokenizer/unicode.h"
#include "common/tokenizer/utf8.h"

namespace tactus {
namespace {

// What Python's str.strip() takes off: the spaces of \s, and the four separators U+001C to U+001F.
absl::string_view PythonStrip(absl::string_view text) {
  const auto strips = [](uint32_t c) { return IsSpace(c) || (c >= 0x1C && c <= 0x1F); };
  while (!text.empty()) {
    const Scalar scalar = DecodeUtf8(text, 0);
    if (!strips(scalar.code_point)) break;
    text.remove_prefix(scalar.length_bytes);
  }
  while (!text.empty()) {
    const Scalar scalar = DecodeUtf8Before(text, text.size());
    if (!strips(scalar.code_point)) break;
    text.remove_suffix(scalar.length_bytes);
  }
  return text;
}

absl::string_view StripNewlines(absl::string_view text, bool left, bool right) {
  while (left && absl::ConsumePrefix(&text, "\n")) continue;
  while (right && absl::ConsumeSuffix(&text, "\n")) continue;
  return text;
}

}  // namespace

absl::Status CheckChatMessages(const std::vector<ChatMessage>& messages) {
  if (messages.empty()) return absl::InvalidArgumentError("messages: expected at least one");
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string& role = messages[i].role;
    if (role != "system" && role != "user" && role != "assistant") {
      return absl::InvalidArgumentError(
          absl::StrFormat("messages[%d].role: expected system, user or assistant, got \"%s\"", i, role.substr(0, 100)));
    }
  }
  return absl::OkStatus();
}

namespace {

void AppendChatMl(absl::string_view role, absl::string_view content, std::string& out) {
  absl::StrAppend(&out, "<|im_start|>", role, "\n", content, "<|im_end|>\n");
}

class ChatMlTemplate : public ChatTemplate {
 public:
  explicit ChatMlTemplate(std::optional<std::string> default_system) : default_system_(std::move(default_system)) {}

  absl::StatusOr<std::string> Render(const std::vector<ChatMessage>& messages) const override {
    RETURN_IF_ERROR(CheckChatMessages(messages));
    std::string out;
    if (default_system_ && messages[0].role != "system") AppendChatMl("system", *default_system_, out);
    for (const ChatMessage& message : messages) AppendChatMl(message.role, message.content, out);
    return out + "<|im_start|>assistant\n";
  }

 private:
  const std::optional<std::string> default_system_;
};

class PlainTemplate : public ChatTemplate {
 public:
  absl::StatusOr<std::string> Render(const std::vector<ChatMessage>& messages) const override {
    RETURN_IF_ERROR(CheckChatMessages(messages));
    std::string out;
    for (const ChatMessage& message : messages) out += message.content;
    return out;
  }
};

// ChatML, but of an assistant's earlier answers the thoughts are left out, and behind the last question they are
// spelled out even when there are none.
class Qwen3Template : public ChatTemplate {
 public:
  absl::StatusOr<std::string> Render(const std::vector<ChatMessage>& messages) const override {
    RETURN_IF_ERROR(CheckChatMessages(messages));
    size_t last_question = messages.size() - 1;
    for (size_t i = messages.size(); i-- > 0;) {
      const std::string& content = messages[i].content;
      const bool tool_response =
          absl::StartsWith(content, "<tool_response>") && absl::EndsWith(content, "</tool_response>");
      if (messages[i].role != "user" || tool_response) continue;
      last_question = i;
      break;
    }
    std::string out;
    for (size_t i = 0; i < messages.size(); ++i) {
      if (messages[i].role == "assistant") {
        AppendAnswer(messages[i].content, i > last_question, i + 1 == messages.size(), out);
      } else {
        AppendChatMl(messages[i].role, messages[i].content, out);
      }
    }
    return out + "<|im_start|>assistant\n";
  }

 private:
  static void AppendAnswer(absl::string_view content, bool after_question, bool last, std::string& out) {
    constexpr absl::string_view kOpen = "<think>", kClose = "</think>";
    absl::string_view thought;
    if (const size_t first_close = content.find(kClose); first_close != absl::string_view::npos) {
      thought = StripNewlines(content.substr(0, first_close), false, true);
      if (const size_t open = thought.rfind(kOpen); open != absl::string_view::npos) {
        thought.remove_prefix(open + kOpen.size());
      }
      thought = StripNewlines(thought, true, false);
      content = StripNewlines(content.substr(content.rfind(kClose) + kClose.size()), true, false);
    }
    if (after_question && (last || !thought.empty())) {
      const std::string with_thought = absl::StrCat("<think>\n", StripNewlines(thought, true, true), "\n</think>\n\n",
                                                    StripNewlines(content, true, false));
      AppendChatMl("assistant", with_thought, out);
    } else {
      AppendChatMl("assistant", content, out);
    }
  }
};

class Llama3Template : public ChatTemplate {
 public:
  explicit Llama3Template(std::string bos) : bos_(std::move(bos)) {}

  absl::StatusOr<std::string> Render(const std::vector<ChatMessage>& messages) const override {
    RETURN_IF_ERROR(CheckChatMessages(messages));
    std::string out = bos_;
    for (const ChatMessage& message : messages) {
      const std::string content = ReplaceInvalidUtf8(message.content);
      absl::StrAppend(&out, "<|start_header_id|>", message.role, "<|end_header_id|>\n\n", PythonStrip(content),
                      "<|eot_id|>");
    }
    return out + "<|start_header_id|>assistant<|end_header_id|>\n\n";
  }

 private:
  const std::string bos_;
};

class MistralNemoTemplate : public ChatTemplate {
 public:
  MistralNemoTemplate(std::string bos, std::string eos) : bos_(std::move(bos)), eos_(std::move(eos)) {}

  absl::StatusOr<std::string> Render(const std::vector<ChatMessage>& messages) const override {
    RETURN_IF_ERROR(CheckChatMessages(messages));
    const size_t first = messages[0].role == "system" ? 1 : 0;
    std::string out = bos_;
    for (size_t i = first; i < messages.size(); ++i) {
      const absl::string_view expected = (i - first) % 2 == 0 ? "user" : "assistant";
      if (messages[i].role != expected) {
        return absl::InvalidArgumentError(
            absl::StrFormat("messages[%d].role: expected %s, as users and assistants take turns after an optional "
                            "system message, got \"%s\"",
                            i, expected, messages[i].role));
      }
      if (messages[i].role == "assistant") {
        absl::StrAppend(&out, messages[i].content, eos_);
        continue;
      }
      const bool with_system = first == 1 && i + 1 == messages.size();
      absl::StrAppend(&out, "[INST]", with_system ? messages[0].content + "\n\n" : "", messages[i].content, "[/INST]");
    }
    return out;
  }

 private:
  const std::string bos_, eos_;
};

class Olmo2Template : public ChatTemplate {
 public:
  Olmo2Template(std::string bos, std::string eos) : bos_(std::move(bos)), eos_(std::move(eos)) {}

  absl::StatusOr<std::string> Render(const std::vector<ChatMessage>& messages) const override {
    RETURN_IF_ERROR(CheckChatMessages(messages));
    std::string out = bos_;
    for (size_t i = 0; i < messages.size(); ++i) {
      const bool assistant = messages[i].role == "assistant";
      absl::StrAppend(&out, "<|", messages[i].role, "|>\n", messages[i].content, assistant ? eos_ : "");
      if (!assistant || i + 1 < messages.size()) out += "\n";
    }
    return out + "<|assistant|>\n";
  }

 private:
  const std::string bos_, eos_;
};

}  // namespace

std::unique_ptr<ChatTemplate> MakeChatMlTemplate(std::optional<std::string> default_system) {
  return std::make_unique<ChatMlTemplate>(std::move(default_system));
}

std::unique_ptr<ChatTemplate> MakePlainTemplate() { return std::make_unique<PlainTemplate>(); }

std::unique_ptr<ChatTemplate> MakeQwen3Template() { return std::make_unique<Qwen3Template>(); }

std::unique_ptr<ChatTemplate> MakeLlama3Template(std::string bos) {
  return std::make_unique<Llama3Template>(std::move(bos));
}

std::unique_ptr<ChatTemplate> MakeMistralNemoTemplate(std::string bos, std::string eos) {
  return std::make_unique<MistralNemoTemplate>(std::move(bos), std::move(eos));
}

std::unique_ptr<ChatTemplate> MakeOlmo2Template(std::string bos, std::string eos) {
  return std::make_unique<Olmo2Template>(std::move(bos), std::move(eos));
}

}  // namespace tactus
