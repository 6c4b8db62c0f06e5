// Rows of a data set that a run cannot use, such as a question longer than rollout.max_prompt_tokens: found before the
// first step, not when a row's turn comes. Thread-safe; blocks for as long as the checks take.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/config/config_fwd.h"

namespace tactus {

// Ends the sentence that refuses rows.
inline constexpr char kLeaveOutHint[] = " (task.unusable_rows: LEAVE_OUT goes on without such rows)";

// Those of the `rows` that `check` is OK with, in order. What becomes of the others says task.unusable_rows: with
// LEAVE_OUT a warning in the log counts them. `what` is how sentences call the rows: "questions to train on".
// InvalidArgument: there are others, or with LEAVE_OUT no row is left; it ends with the error of the first.
absl::StatusOr<std::vector<uint32_t>> UsableRows(const config::TaskOptions& options, absl::string_view what,
                                                 const std::vector<uint32_t>& rows,
                                                 absl::FunctionRef<absl::Status(uint32_t row)> check);

// 0 to count - 1.
std::vector<uint32_t> AllRows(size_t count);

}  // namespace tactus
