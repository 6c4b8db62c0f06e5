#include "tools/batch/tokenize_jsonl.h"

#include <vector>

#include "absl/strings/str_format.h"
#include "common/base/status_macros.h"
#include "common/tokenizer/json_field.h"

namespace tactus {
namespace {

constexpr size_t kMaxLineBytes = size_t{64} << 20;

enum class LineResult { kLine, kEnd, kTooLong };

// std::getline, but bounded.
LineResult ReadLine(std::istream& in, std::string& line) {
  line.clear();
  std::streambuf& buffer = *in.rdbuf();
  for (int c = buffer.sbumpc(); c != std::char_traits<char>::eof(); c = buffer.sbumpc()) {
    if (c == '\n') return LineResult::kLine;
    if (line.size() == kMaxLineBytes) return LineResult::kTooLong;
    line.push_back(static_cast<char>(c));
  }
  return line.empty() ? LineResult::kEnd : LineResult::kLine;
}

absl::Status CheckKeys(const JsonField& object, std::initializer_list<absl::string_view> known,
                       absl::string_view what) {
  RETURN_IF_ERROR(object.CheckObject());
  for (const auto& item : object.value().items()) {
    if (std::find(known.begin(), known.end(), item.key()) == known.end()) {
      return object.Error(absl::StrFormat("unknown key \"%s\"; expected %s", item.key().substr(0, 100), what));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<ChatMessage>> ReadMessages(const JsonField& field) {
  ASSIGN_OR_RETURN(const size_t size, field.ArraySize());
  std::vector<ChatMessage> messages;
  for (size_t i = 0; i < size; ++i) {
    const JsonField element = field.Element(i);
    RETURN_IF_ERROR(CheckKeys(element, {"role", "content"}, "role and content"));
    ChatMessage message;
    JSON_MEMBER(message.role, element, "role", String());
    JSON_MEMBER(message.content, element, "content", String());
    messages.push_back(std::move(message));
  }
  return messages;
}

absl::StatusOr<std::vector<TokenId>> EncodeLine(const JsonField& root, const Tokenizer& tokenizer,
                                                const absl::StatusOr<std::unique_ptr<ChatTemplate>>& chat_template) {
  RETURN_IF_ERROR(CheckKeys(root, {"id", "text", "messages"}, "id and either text or messages"));
  ASSIGN_OR_RETURN(const JsonField id, root.Member("id"));
  if (!id.value().is_string() && !id.value().is_number_integer()) return id.Expected("a string or an integer");
  ASSIGN_OR_RETURN(const JsonField text, root.Member("text"));
  ASSIGN_OR_RETURN(const JsonField messages_field, root.Member("messages"));
  if (text.is_null() == messages_field.is_null()) return root.Expected("either text or messages");
  if (!text.is_null()) {
    ASSIGN_OR_RETURN(const std::string content, text.String());
    return tokenizer.Encode(content, /*add_special_tokens=*/true);
  }
  RETURN_IF_ERROR(chat_template.status());
  ASSIGN_OR_RETURN(const std::vector<ChatMessage> messages, ReadMessages(messages_field));
  const absl::StatusOr<std::string> prompt = (*chat_template)->Render(messages);
  if (!prompt.ok()) return root.Error(prompt.status().message());
  return tokenizer.Encode(*prompt, /*add_special_tokens=*/false);
}

}  // namespace

absl::Status TokenizeJsonl(const Tokenizer& tokenizer,
                           const absl::StatusOr<std::unique_ptr<ChatTemplate>>& chat_template,
                           const std::string& input_name, std::istream& in, std::ostream& out) {
  std::string line;
  for (int64_t number = 1;; ++number) {
    const LineResult result = ReadLine(in, line);
    if (result == LineResult::kEnd) break;
    const std::string source = absl::StrCat(input_name, ":", number);
    if (result == LineResult::kTooLong) {
      return absl::InvalidArgumentError(
          absl::StrFormat("%s: expected a line of at most %d bytes", source, kMaxLineBytes));
    }
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    ASSIGN_OR_RETURN(const nlohmann::json json, ParseJson(line, source));
    ASSIGN_OR_RETURN(const std::vector<TokenId> ids, EncodeLine(JsonField(json, source), tokenizer, chat_template));
    ASSIGN_OR_RETURN(const std::string text, tokenizer.Decode(ids, /*skip_special_tokens=*/false));
    const nlohmann::ordered_json reply = {{"id", nlohmann::ordered_json(json["id"])}, {"ids", ids}, {"text", text}};
    out << reply.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) << '\n';
    if (!out) return absl::DataLossError(absl::StrCat("the output failed behind the reply to ", source));
  }
  out.flush();
  return out ? absl::OkStatus() : absl::DataLossError("the output failed at its end");
}

}  // namespace tactus
