// Questions and reference answers from JSON lines behind the Task interface.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "common/tasks/task.h"
#include "common/tasks/task_settings.h"

namespace tactus {

// Reads train_path (unless settings.test_only) and test_path: lines {"question": string, "answer": string or number},
// bounded as json_lines.h says; other keys and blank lines are skipped. GSM8K's files can be given as they are. With
// settings.opaque_keys no answer has to be there, and the answer key is all of a line but its question, as JSON.
// InvalidArgument names file, line and key: a malformed line, an empty question or answer, a question (trimmed) that
// both files hold, a file without questions. NotFound: no such file.
absl::StatusOr<std::unique_ptr<Task>> CreateQaTask(const TaskSettings& settings);

}  // namespace tactus
