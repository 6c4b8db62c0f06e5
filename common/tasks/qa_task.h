// Questions and reference answers from files behind the Task interface.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "common/tasks/task.h"
#include "common/tasks/task_settings.h"

namespace tactus {

// Reads train_path (unless settings.test_only) and test_path, files that data_rows.h reads: of each row the question at
// question_field, a text or messages, and at answer_field a text or a number. GSM8K's files can be given as they are.
// With settings.opaque_keys no answer has to be there, and the answer key is all of a row but its question, as JSON.
// Messages are [{"role", "content"}, …]: at most the first is the system's, the last is the user's; other members are
// skipped. They are asked as they are, a text as the style says. InvalidArgument names file, row and field: a malformed
// row, an empty question or answer, a question (trimmed) that both splits hold, a file without questions. NotFound: no
// such file.
absl::StatusOr<std::unique_ptr<Task>> CreateQaTask(const TaskSettings& settings);

}  // namespace tactus
