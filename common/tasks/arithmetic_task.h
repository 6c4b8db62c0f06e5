// Generated questions "a op b" behind the Task interface.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "common/tasks/task.h"
#include "common/tasks/task_settings.h"

namespace tactus {

// a + b with a, b in [0, 999], a - b likewise with a >= b, a * b with a, b in [0, 99]. The splits share no question,
// the two orders of a sum or product being one; test questions are all different, a train question may come twice.
// InvalidArgument names the field that is out of range.
absl::StatusOr<std::unique_ptr<Task>> CreateArithmeticTask(const TaskSettings& settings);

}  // namespace tactus
