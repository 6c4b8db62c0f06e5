// The work of `tactus verify`: has a judge judge answers from JSON lines, one verdict line each, in the same order.
#pragma once

#include <istream>
#include <ostream>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/tasks/judge.h"

namespace tactus {

// In:  {"id": string or integer, "response": string} and what the judge compares with: of countdown "numbers": [int]
//      and "target": int, of arithmetic and qa "answer": string or number, as in the questions' file; of an environment
//      what it understands, or "answer_key": string alone, which it is given as it is
// Out: {"id": as given, "correct": bool, "reward": float, "reason": string}
// Lines of white space only are skipped; memory is bounded by one line (kMaxJsonLineBytes). Stops at the first bad
// line, the verdicts before it are written: InvalidArgument, starting with "<input_name>:<line>". Unavailable: the
// judge gave none within `patience`. NotFound: `in` is not readable. Internal: `out` refused the bytes. Blocks on both
// streams; thread-safe apart from them.
absl::Status VerifyJsonl(Judge& judge, absl::Duration patience, std::istream& in, absl::string_view input_name,
                         std::ostream& out);

}  // namespace tactus
