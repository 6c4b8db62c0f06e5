#include "common/tasks/task.h"

#include "absl/strings/str_cat.h"
#include "common/tasks/countdown_task.h"

namespace tactus {

absl::StatusOr<std::unique_ptr<Task>> CreateTask(const config::TaskOptions& options) {
  if (options.name() == "countdown") return CreateCountdownTask(options);
  return absl::InvalidArgumentError(absl::StrCat("task.name: \"", options.name(), "\" is unknown, expected countdown"));
}

}  // namespace tactus
