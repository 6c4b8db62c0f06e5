// The work of `tactus generate`: prompts from JSON lines, sampled answers as JSON lines.
//
// In:  prompt_jsonl.h
// Out: {"id", "sample": int, "ids": [int], "text", "logprobs": [float], "finish_reason": "stop" or "length"}, the
//      samples of a prompt together, in the order of the input. `ids` has the stop token, `text` has not; `text` is
//      null where an id has no text.
#pragma once

#include <cstdint>
#include <istream>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "actor/engine/engine.h"
#include "common/tokenizer/chat/chat_template.h"
#include "common/tokenizer/tokenizer.h"

namespace tactus {

struct GenerateOptions {
  int max_tokens = 256;
  int samples = 1;  // completions per prompt
  uint64_t seed = 1;
  SamplingOptions sampling;
  std::vector<TokenId> stop_ids;
};

// Blocks. The draws are keyed by (seed, line's place among the prompts, sample, token). `chat_template` may be an
// error: it is returned when a line has messages. InvalidArgument: a bad line, by number, after those before it were
// written. DataLoss: `out` failed.
absl::Status GenerateJsonl(Engine& engine, const Tokenizer& tokenizer,
                           const absl::StatusOr<std::unique_ptr<ChatTemplate>>& chat_template,
                           const GenerateOptions& options, std::istream& in, absl::string_view input_name,
                           std::ostream& out);

// Whether GenerateJsonl can read all lines, without an answer to any. The same errors.
absl::Status CheckPrompts(const ModelConfig& model, const Tokenizer& tokenizer,
                          const absl::StatusOr<std::unique_ptr<ChatTemplate>>& chat_template,
                          const GenerateOptions& options, std::istream& in, absl::string_view input_name);

}  // namespace tactus
