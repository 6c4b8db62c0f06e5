#include "tools/batch/generate.h"

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "common/base/status_macros.h"
#include "common/tasks/completion_text.h"
#include "tools/batch/prompt_jsonl.h"
#include "tools/batch/run_requests.h"

namespace tactus {
namespace {

using Json = nlohmann::ordered_json;

PromptLimits LimitsOf(const ModelConfig& model, const GenerateOptions& options) {
  return {.max_tokens = options.max_tokens, .max_position = model.max_position, .vocab_size = model.vocab_size};
}

class Generation {
 public:
  Generation(const Tokenizer& tokenizer, const absl::StatusOr<std::unique_ptr<ChatTemplate>>& chat_template,
             const GenerateOptions& options, const ModelConfig& model, std::istream& in, absl::string_view input_name,
             std::ostream& out)
      : tokenizer_(tokenizer),
        options_(options),
        prompts_(tokenizer, chat_template, LimitsOf(model, options), in, input_name),
        out_(out) {}

  absl::StatusOr<std::optional<EngineRequest>> Next() {
    ASSIGN_OR_RETURN(std::optional<PromptLine> line, prompts_.Next());
    if (!line.has_value()) return std::nullopt;
    EngineRequest request;
    request.prompt_ids = std::move(line->prompt_ids);
    request.request_id = request.prompt_id = next_request_;
    request.seed = options_.seed;
    request.num_completions = options_.samples;
    request.max_tokens = options_.max_tokens;
    request.sampling = options_.sampling;
    request.stop_ids = options_.stop_ids;
    Pending pending;
    pending.id = Json::parse(line->id_json);
    pending.completions.resize(options_.samples);
    pending.unfinished = options_.samples;
    // Few wait here: the oldest request advances in every engine step, so it ends within max_tokens steps.
    pending_.emplace(next_request_++, std::move(pending));
    return request;
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
  const GenerateOptions& options_;
  PromptReader prompts_;
  std::ostream& out_;
  uint64_t next_request_ = 0;
  std::map<uint64_t, Pending> pending_;  // not yet written, by request
};

}  // namespace

absl::Status GenerateJsonl(Engine& engine, const Tokenizer& tokenizer,
                           const absl::StatusOr<std::unique_ptr<ChatTemplate>>& chat_template,
                           const GenerateOptions& options, std::istream& in, absl::string_view input_name,
                           std::ostream& out) {
  Generation generation(tokenizer, chat_template, options, engine.config(), in, input_name, out);
  RETURN_IF_ERROR(RunRequests(
      engine, [&] { return generation.Next(); },
      [&](FinishedCompletion finished) { return generation.Done(std::move(finished)); }));
  return out.flush() ? absl::OkStatus() : absl::DataLossError("cannot write the answers to the output");
}

absl::Status CheckPrompts(const ModelConfig& model, const Tokenizer& tokenizer,
                          const absl::StatusOr<std::unique_ptr<ChatTemplate>>& chat_template,
                          const GenerateOptions& options, std::istream& in, absl::string_view input_name) {
  return PromptReader(tokenizer, chat_template, LimitsOf(model, options), in, input_name).CheckRest();
}

}  // namespace tactus
