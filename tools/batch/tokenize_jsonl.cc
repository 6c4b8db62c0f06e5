#include "tools/batch/tokenize_jsonl.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/json_lines.h"
#include "common/base/status_macros.h"
#include "tools/batch/prompt_jsonl.h"

namespace tactus {
namespace {

using Json = nlohmann::ordered_json;

constexpr JsonLimits kLimits = {
    .max_bytes = size_t{64} << 20, .max_depth = 4, .max_values = size_t{1} << 20, .max_string = size_t{64} << 20};

absl::StatusOr<std::vector<TokenId>> EncodeLine(const JsonField& root, const Tokenizer& tokenizer,
                                                const absl::StatusOr<std::unique_ptr<ChatTemplate>>& chat_template) {
  RETURN_IF_ERROR(root.CheckKeys({}, {"id", "text", "messages"}));
  ASSIGN_OR_RETURN(const JsonField text, root.Member("text"));
  ASSIGN_OR_RETURN(const JsonField messages, root.Member("messages"));
  if (text.is_null() == messages.is_null()) return root.Expected("either text or messages");
  if (text.is_null()) return EncodeMessages(messages, tokenizer, chat_template);
  ASSIGN_OR_RETURN(const std::string content, text.String());
  return tokenizer.Encode(content, /*add_special_tokens=*/true);
}

}  // namespace

absl::Status TokenizeJsonl(const Tokenizer& tokenizer,
                           const absl::StatusOr<std::unique_ptr<ChatTemplate>>& chat_template,
                           const std::string& input_name, std::istream& in, std::ostream& out) {
  const auto answer = [&](const JsonField& line) -> absl::Status {
    ASSIGN_OR_RETURN(const std::vector<TokenId> ids, EncodeLine(line, tokenizer, chat_template));
    JSON_MEMBER(const std::string id, line, "id", Id());
    ASSIGN_OR_RETURN(const std::string text, tokenizer.Decode(ids, /*skip_special_tokens=*/false));
    const Json reply = {{"id", Json::parse(id)}, {"ids", ids}, {"text", text}};
    out << reply.dump(-1, ' ', false, Json::error_handler_t::replace) << '\n';
    return out ? absl::OkStatus()
               : absl::DataLossError(absl::StrCat("the output failed behind the reply to ", line.source()));
  };
  RETURN_IF_ERROR(ForEachJsonLine(in, input_name, answer, kLimits));
  out.flush();
  return out ? absl::OkStatus() : absl::DataLossError("the output failed at its end");
}

}  // namespace tactus
