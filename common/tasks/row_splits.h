// A task's two splits as they are read from files: one pass over each, and then any row by its number.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "common/base/json_field.h"
#include "common/data/row_store.h"
#include "common/tasks/task.h"
#include "common/tasks/task_settings.h"

namespace tactus {

struct TaskRow {
  std::string question;  // as the task reads it again
  std::string identity;  // what no row of the other split may have; not kept
  std::string answer_key_json;
  std::string where = {};  // "train.jsonl:3"
};

// How a task reads a row of its data.
struct RowFormat {
  std::string row_name;             // "question"
  std::vector<std::string> fields;  // that `read` asks for; empty: all of a row
  absl::FunctionRef<absl::StatusOr<TaskRow>(const JsonField&)> read;
};

// Immutable, thread-safe. Reads block for the disk where the rows are more than memory should hold (row_store.h).
class RowSplits {
 public:
  // Reads settings.test_path, and settings.train_path unless settings.test_only. InvalidArgument: of ForEachRow and
  // `read`, a split without rows, or a train row whose identity a test row has; with settings.leave_out such train rows
  // are left out and the log counts them. NotFound: no such file.
  static absl::StatusOr<RowSplits> Read(const TaskSettings& settings, const RowFormat& format);

  size_t Size(Split split) const { return Rows(split).size(); }
  // 0 <= index < Size(split); without its identity. Errors are the disk's.
  absl::StatusOr<TaskRow> At(Split split, size_t index) const;

 private:
  class Identities;
  absl::Status ReadTest(const TaskSettings& settings, const RowFormat& format, Identities& identities);
  absl::Status ReadTrain(const TaskSettings& settings, const RowFormat& format, const Identities& identities);
  const RowStore& Rows(Split split) const { return split == Split::kTrain ? train_ : test_; }

  RowStore train_, test_;
};

}  // namespace tactus
