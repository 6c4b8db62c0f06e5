// The work of `tactus score`: log-probs of given responses, JSON lines in and out.
//
// In:  response_jsonl.h.
// Out: {"id", "logprobs": [float], "bits": [hex of each float32]}, in the order of the input.
#pragma once

#include <istream>
#include <ostream>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "tools/batch/response_jsonl.h"
#include "tools/batch/score.h"

namespace tactus {

// Blocks; holds 8 * batch lines at once. `limits`: the model's. InvalidArgument: a bad line, by number, after those
// before it were written. DataLoss: `out` failed.
absl::Status ScoreJsonl(ResponseScorer& scorer, const ResponseLimits& limits, int batch, std::istream& in,
                        absl::string_view input_name, std::ostream& out);

}  // namespace tactus
