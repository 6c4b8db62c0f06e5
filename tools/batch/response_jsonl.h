// Given responses as JSON lines, the input of `tactus score` and `tactus rhythm`:
// {"id", "prompt_ids": [int], "response_ids": [int], "sampled": [int]}; `id` is a string or an integer and comes back
// as it is; `sampled` is there for a conversation, with the places of the model's tokens. A line of a run's
// samples.jsonl is one too: its id is "step/prompt/completion".
#pragma once

#include <cstdint>
#include <istream>
#include <span>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "tools/batch/score.h"

namespace tactus {

struct ResponseLine {
  std::string id_json;  // as it came
  std::string where;    // "file:line"
  ScoreItem item;
};

// What the model takes.
struct ResponseLimits {
  int64_t max_position = 0;  // prompt and response together
  int64_t vocab_size = 0;
};

// Reads all of `in` and hands over up to lines_at_once lines at a time, in order. Blank lines are skipped.
// InvalidArgument: a bad line or one beyond the limits, by number; lines before it were handed over. Or what `use`
// returned.
absl::Status ForEachResponses(std::istream& in, absl::string_view input_name, const ResponseLimits& limits,
                              size_t lines_at_once, absl::FunctionRef<absl::Status(std::span<const ResponseLine>)> use);

// Whether all lines are good. The same errors.
absl::Status CheckResponses(std::istream& in, absl::string_view input_name, const ResponseLimits& limits);

}  // namespace tactus
