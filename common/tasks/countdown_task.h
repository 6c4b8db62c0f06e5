// Countdown puzzles, generated or read, behind the Task interface.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "common/tasks/task.h"
#include "common/tasks/task_settings.h"

namespace tactus {

// Both splits are drawn when the task is made: the test split first, its puzzles all different; then the train split,
// where a puzzle (its numbers in any order, with its target) that the test split holds is drawn again. So the test
// split does not depend on train_size. A train puzzle may come twice. InvalidArgument names the field that is out of
// range, or test_size when there are not enough different puzzles.
//
// With a test_path the puzzles are those of files (data_rows.h): of each row 1 to 100 whole numbers at numbers_field
// and a whole number at target_field. Errors then name file, row and field, or a puzzle that both splits hold.
absl::StatusOr<std::unique_ptr<Task>> CreateCountdownTask(const TaskSettings& settings);

}  // namespace tactus
