#include "common/tasks/task.h"

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/config/run_config.h"
#include "common/tasks/arithmetic_task.h"
#include "common/tasks/countdown_task.h"
#include "common/tasks/qa_task.h"
#include "common/tasks/task_settings.h"
#include "proto/config.pb.h"

namespace tactus {
namespace {

absl::StatusOr<PromptStyle> StyleOf(const std::string& name) {
  if (name == "chat") return PromptStyle::kChat;
  if (name == "compact") return PromptStyle::kCompact;
  return absl::UnimplementedError(absl::StrCat("task.prompt_style: no task knows \"", name, "\"."));
}

absl::StatusOr<TaskSettings> SettingsOf(const config::TaskOptions& options) {
  ASSIGN_OR_RETURN(const PromptStyle style, StyleOf(options.prompt_style()));
  return TaskSettings{.style = style,
                      .format_reward = options.format_reward(),
                      .data_seed = options.data_seed(),
                      .train_size = options.train_size(),
                      .test_size = options.test_size(),
                      .shape = {.min_numbers = options.min_numbers(),
                                .max_numbers = options.max_numbers(),
                                .max_number = options.max_number(),
                                .max_target = options.max_target()},
                      .train_path = options.train_path(),
                      .test_path = options.test_path()};
}

}  // namespace

absl::StatusOr<std::unique_ptr<Task>> CreateTask(const config::TaskOptions& options) {
  RETURN_IF_ERROR(config::CheckTaskOptions(options));
  ASSIGN_OR_RETURN(const TaskSettings settings, SettingsOf(options));
  if (options.name() == "countdown") return CreateCountdownTask(settings);
  if (options.name() == "arithmetic") return CreateArithmeticTask(settings);
  if (options.name() == "qa") return CreateQaTask(settings);
  return absl::UnimplementedError(absl::StrCat("task.name: there is no task \"", options.name(), "\"."));
}

}  // namespace tactus
