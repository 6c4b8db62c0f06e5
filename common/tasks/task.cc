#include "common/tasks/task.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "common/config/run_config.h"
#include "common/config/task_sources.h"
#include "common/tasks/answer_verifier.h"
#include "common/tasks/arithmetic_task.h"
#include "common/tasks/countdown.h"
#include "common/tasks/countdown_task.h"
#include "common/tasks/mixed_task.h"
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
                      .data_seed = options.data_seed(),
                      .train_size = options.train_size(),
                      .test_size = options.test_size(),
                      .shape = {.min_numbers = options.min_numbers(),
                                .max_numbers = options.max_numbers(),
                                .max_number = options.max_number(),
                                .max_target = options.max_target()},
                      .train_path = options.train_path(),
                      .test_path = options.test_path(),
                      .leave_out = options.unusable_rows() == config::TaskOptions::LEAVE_OUT,
                      .opaque_keys = config::EnvironmentJudges(options),
                      .question_field = options.question_field(),
                      .answer_field = options.answer_field(),
                      .numbers_field = options.numbers_field(),
                      .target_field = options.target_field()};
}

template <typename V>
std::unique_ptr<Verifier> MakeVerifier(double format_reward) {
  return std::make_unique<V>(format_reward);
}

struct Entry {
  absl::string_view name;
  absl::StatusOr<std::unique_ptr<Task>> (*create)(const TaskSettings& settings);
  std::unique_ptr<Verifier> (*verifier)(double format_reward);
};

constexpr Entry kTasks[] = {{"arithmetic", CreateArithmeticTask, MakeVerifier<AnswerVerifier>},
                            {"countdown", CreateCountdownTask, MakeVerifier<CountdownVerifier>},
                            {"qa", CreateQaTask, MakeVerifier<AnswerVerifier>}};

absl::StatusOr<Entry> EntryOf(absl::string_view name) {
  for (const Entry& entry : kTasks) {
    if (entry.name == name) return entry;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("there is no task \"", name, "\", expected one of ", TaskNames(), "."));
}

absl::StatusOr<std::unique_ptr<Task>> CreateSource(const config::TaskOptions& options, bool test_only) {
  ASSIGN_OR_RETURN(TaskSettings settings, SettingsOf(options));
  settings.test_only = test_only;
  ASSIGN_OR_RETURN(const Entry entry, EntryOf(options.name()));
  return entry.create(settings);
}

absl::StatusOr<std::unique_ptr<Task>> Create(const config::TaskOptions& options, bool test_only) {
  RETURN_IF_ERROR(config::CheckTaskOptions(options));
  const std::vector<config::TaskOptions> sources = config::SourcesOf(options);
  const std::vector<std::string> names = config::SourceNames(options);
  std::vector<NamedTask> tasks;
  for (size_t i = 0; i < sources.size(); ++i) {
    absl::StatusOr<std::unique_ptr<Task>> task = CreateSource(sources[i], test_only);
    if (options.sources().empty()) return task;
    if (!task.ok()) {
      return absl::Status(task.status().code(), absl::StrCat("source ", names[i], ": ", task.status().message()));
    }
    if (!test_only && (*task)->Size(Split::kTrain) == 0) {
      return absl::InvalidArgumentError(absl::StrCat("source ", names[i], " has no train examples"));
    }
    tasks.push_back({.name = names[i], .task = *std::move(task)});
  }
  return CreateMixedTask(std::move(tasks), test_only);
}

}  // namespace

std::string TaskNames() {
  return absl::StrJoin(kTasks, ", ", [](std::string* out, const Entry& entry) { absl::StrAppend(out, entry.name); });
}

absl::StatusOr<std::unique_ptr<Task>> CreateTask(const config::TaskOptions& options) {
  return Create(options, /*test_only=*/false);
}

absl::StatusOr<std::unique_ptr<Task>> CreateTestSet(const config::TaskOptions& options) {
  return Create(options, /*test_only=*/true);
}

absl::StatusOr<std::unique_ptr<Verifier>> CreateVerifier(absl::string_view task_name, double format_reward) {
  ASSIGN_OR_RETURN(const Entry entry, EntryOf(task_name));
  return entry.verifier(format_reward);
}

absl::StatusOr<std::vector<std::unique_ptr<Verifier>>> CreateVerifiers(const config::TaskOptions& options) {
  std::vector<std::unique_ptr<Verifier>> verifiers;
  for (const config::TaskOptions& source : config::SourcesOf(options)) {
    std::unique_ptr<Verifier>& verifier = verifiers.emplace_back();
    if (config::EnvironmentJudges(source)) continue;
    ASSIGN_OR_RETURN(verifier, CreateVerifier(source.name(), source.format_reward()));
  }
  return verifiers;
}

}  // namespace tactus
