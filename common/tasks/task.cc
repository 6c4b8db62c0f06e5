#include "common/tasks/task.h"

#include "absl/strings/str_cat.h"
#include "common/tasks/arithmetic_task.h"
#include "common/tasks/countdown_task.h"
#include "common/tasks/qa_task.h"

namespace tactus {

absl::StatusOr<std::unique_ptr<Task>> CreateTask(const config::TaskOptions& options) {
  if (options.name() == "countdown") return CreateCountdownTask(options);
  if (options.name() == "arithmetic") return CreateArithmeticTask(options);
  if (options.name() == "qa") return CreateQaTask(options);
  return absl::InvalidArgumentError(
      absl::StrCat("task.name: \"", options.name(), "\" is unknown, expected countdown, arithmetic or qa"));
}

}  // namespace tactus
