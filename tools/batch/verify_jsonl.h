// The work of `tactus verify`: judges answers from JSON lines, one verdict line each, in the same order.
#pragma once

#include <istream>
#include <ostream>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace tactus {

// In:  {"id": string or integer, "response": string} and what the task's verifier compares with: of countdown
//      "numbers": [int] and "target": int, of arithmetic and qa "answer": string or number, as in the questions' file
// Out: {"id": as given, "correct": bool, "reward": float, "reason": string}
// Lines of white space only are skipped; memory is bounded by one line (kMaxJsonLineBytes). The reward is that of the
// default task.format_reward. Stops at the first bad line, the verdicts before it are written: InvalidArgument,
// starting with "<input_name>:<line>". InvalidArgument too: there is no such task.
// NotFound: `in` is not readable. Internal: `out` refused the bytes. Blocks on both streams; thread-safe apart from
// them.
absl::Status VerifyJsonl(absl::string_view task, std::istream& in, absl::string_view input_name, std::ostream& out);

}  // namespace tactus
