#include "actor/engine/generate.h"

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "actor/engine/completion_text.h"
#include "actor/engine/run_requests.h"
#include "common/base/status_macros.h"
#include "common/base/strict_json.h"
#include "common/tasks/json_fields.h"

namespace tactus {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMaxValues = size_t{1} << 20;

class Generation {
 public:
  Generation(const Tokenizer& tokenizer, const absl::StatusOr<std::unique_ptr<ChatTemplate>>& chat_template,
             const GenerateOptions& options, int64_t max_position, std::istream& in, absl::string_view input_name,
             std::ostream& out)
      : tokenizer_(tokenizer),
        chat_template_(chat_template),
        options_(options),
        max_position_(max_position),
        in_(in),
        input_name_(input_name),
        out_(out) {}

  absl::StatusOr<std::optional<EngineRequest>> Next() {
    while (true) {
      const std::string where = absl::StrCat(input_name_, ":", ++line_number_);
      ASSIGN_OR_RETURN(const bool more, ReadJsonLine(in_, where, line_));
      if (!more) return std::nullopt;
      if (absl::StripAsciiWhitespace(line_).empty()) continue;
      EngineRequest request;
      Pending pending;
      ASSIGN_OR_RETURN(request.prompt_ids, PromptIds(where, pending.id));
      if (request.prompt_ids.empty()) {
        return absl::InvalidArgumentError(absl::StrCat(where, ": expected a prompt of at least one token"));
      }
      const int64_t tokens = static_cast<int64_t>(request.prompt_ids.size()) + options_.max_tokens;
      if (tokens > max_position_) {
        return absl::InvalidArgumentError(absl::StrCat(where, ": the prompt's ", request.prompt_ids.size(),
                                                       " tokens and --max-tokens ", options_.max_tokens,
                                                       " exceed the model's ", max_position_, " positions"));
      }
      request.request_id = request.prompt_id = next_request_;
      request.seed = options_.seed;
      request.num_completions = options_.samples;
      request.max_tokens = options_.max_tokens;
      request.sampling = options_.sampling;
      request.stop_ids = options_.stop_ids;
      pending.completions.resize(options_.samples);
      pending.unfinished = options_.samples;
      // Few wait here: the oldest request advances in every engine step, so it ends within max_tokens steps.
      pending_.emplace(next_request_++, std::move(pending));
      return request;
    }
  }

  absl::Status Done(FinishedCompletion finished) {
    Pending& pending = pending_.at(finished.request_id);
    pending.completions[finished.completion_index] = std::move(finished.completion);
    --pending.unfinished;
    for (; !pending_.empty() && pending_.begin()->second.unfinished == 0; pending_.erase(pending_.begin())) {
      Write(pending_.begin()->second);
    }
    return out_ ? absl::OkStatus() : absl::DataLossError("cannot write the answers to the output");
  }

 private:
  struct Pending {
    Json id;
    std::vector<Completion> completions;
    int unfinished = 0;
  };

  absl::StatusOr<std::vector<TokenId>> PromptIds(const std::string& where, Json& id) const {
    ASSIGN_OR_RETURN(Json line, ParseStrictJson(line_, where,
                                                {.max_bytes = kMaxJsonLineBytes,
                                                 .max_depth = 4,
                                                 .max_values = kMaxValues,
                                                 .max_string = kMaxJsonLineBytes}));
    const bool two_keys = line.is_object() && line.size() == 2 && line.contains("id");
    if (!two_keys || !(line.contains("prompt") || line.contains("messages") || line.contains("prompt_ids"))) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, ": expected an object with id and one of prompt, messages and prompt_ids"));
    }
    id = line.at("id");
    if (!id.is_string() && !id.is_number_integer()) {
      return absl::InvalidArgumentError(absl::StrCat(where, ": id: expected a string or an integer"));
    }
    if (line.contains("prompt_ids")) return JsonTokenIds(line, where, "prompt_ids");
    if (line.contains("prompt")) {
      ASSIGN_OR_RETURN(const std::string text, JsonString(line, where, "prompt"));
      return tokenizer_.Encode(text, /*add_special_tokens=*/true);
    }
    return EncodeMessages(line.at("messages"), where);
  }

  absl::StatusOr<std::vector<TokenId>> EncodeMessages(const Json& array, const std::string& where) const {
    RETURN_IF_ERROR(chat_template_.status());
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
    const absl::StatusOr<std::string> text = (*chat_template_)->Render(messages);
    if (!text.ok()) return absl::InvalidArgumentError(absl::StrCat(where, ": ", text.status().message()));
    return tokenizer_.Encode(*text, /*add_special_tokens=*/false);
  }

  void Write(const Pending& pending) {
    for (size_t sample = 0; sample < pending.completions.size(); ++sample) {
      const Completion& completion = pending.completions[sample];
      const auto text = CompletionText(tokenizer_, completion.token_ids, completion.finish_reason);
      const Json line = {{"id", pending.id},
                         {"sample", sample},
                         {"ids", completion.token_ids},
                         {"text", text.ok() ? Json(*text) : Json()},
                         {"logprobs", completion.logprobs},
                         {"finish_reason", completion.finish_reason == FinishReason::kStop ? "stop" : "length"}};
      // A completion may end inside a character; such bytes become U+FFFD.
      out_ << line.dump(-1, ' ', false, Json::error_handler_t::replace) << '\n';
    }
  }

  const Tokenizer& tokenizer_;
  const absl::StatusOr<std::unique_ptr<ChatTemplate>>& chat_template_;
  const GenerateOptions& options_;
  const int64_t max_position_;
  std::istream& in_;
  const absl::string_view input_name_;
  std::ostream& out_;
  std::string line_;
  int64_t line_number_ = 0;
  uint64_t next_request_ = 0;
  std::map<uint64_t, Pending> pending_;  // not yet written, by request
};

}  // namespace

absl::Status GenerateJsonl(Engine& engine, const Tokenizer& tokenizer,
                           const absl::StatusOr<std::unique_ptr<ChatTemplate>>& chat_template,
                           const GenerateOptions& options, std::istream& in, absl::string_view input_name,
                           std::ostream& out) {
  Generation generation(tokenizer, chat_template, options, engine.config().max_position, in, input_name, out);
  RETURN_IF_ERROR(RunRequests(
      engine, [&] { return generation.Next(); },
      [&](FinishedCompletion finished) { return generation.Done(std::move(finished)); }));
  return out.flush() ? absl::OkStatus() : absl::DataLossError("cannot write the answers to the output");
}

}  // namespace tactus
