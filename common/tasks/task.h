// What a run trains on: where prompts come from and how an answer is judged.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/config/config_fwd.h"
#include "common/data/types.h"
#include "common/tokenizer/chat/chat_template.h"

namespace tactus {

struct TaskExample {
  std::string system;                     // may be empty
  std::string user;                       // what the model is asked
  std::string answer_key_json;            // what the verifier needs; for a user's server, any bytes
  std::string tools_json = {};            // that the model may call, as its chat template wants them; empty: none
  std::string where = {};                 // "train.jsonl:3"; of data that is not read but made, which one it is
  std::vector<ChatMessage> earlier = {};  // what was said between the system message and `user`
  std::string identity = {};              // what no example of the other split may have; empty: what is asked
};

// Judges one answer. Deterministic, bounded in time, never trusts the text, never evaluates it as code.
// Thread-safe. InvalidArgument: the answer key is malformed (our fault or the data's, never the model's).
class Verifier {
 public:
  virtual ~Verifier() = default;
  virtual absl::StatusOr<Reward> Score(absl::string_view answer_key_json, absl::string_view completion) const = 0;
};

enum class Split { kTrain, kTest };

// A named set of examples. Immutable after creation, thread-safe. The two splits never share a puzzle.
class Task {
 public:
  virtual ~Task() = default;
  virtual size_t Size(Split split) const = 0;
  // 0 <= index < Size(split); the same example for the same options, always. Errors are a disk's, on which data stands
  // that is too large for memory, and of several sources CreateMixedTask's.
  virtual absl::StatusOr<TaskExample> Example(Split split, size_t index) const = 0;
  // A worked answer to a train example, for `tactus sft`; variant = which of several. Unimplemented where a task has
  // none.
  virtual absl::StatusOr<std::string> Trace(size_t index, uint64_t variant) const = 0;
  // Which of task.sources it is of, counted from 0; 0 where there are none. Increases with the index of the train
  // split.
  virtual uint32_t SourceOf(Split /*split*/, size_t /*index*/) const { return 0; }
};

// "arithmetic, countdown, qa": the names of all tasks with a verifier, for help and messages.
std::string TaskNames();

// InvalidArgument names the field; NotFound names a missing file. With task.sources these are mixed (mixed_task.h), and
// errors name the source. Task environment is common/environment's.
absl::StatusOr<std::unique_ptr<Task>> CreateTask(const config::TaskOptions& options);

// The same for its test split alone: what only the train split needs is not read, and that may be empty.
absl::StatusOr<std::unique_ptr<Task>> CreateTestSet(const config::TaskOptions& options);

// A task's verifier without its data. InvalidArgument: there is no task of this name, and which there are.
absl::StatusOr<std::unique_ptr<Verifier>> CreateVerifier(absl::string_view task_name, double format_reward);

// The verifier of each of task.sources, or the task's where it has none; null: an environment judges.
absl::StatusOr<std::vector<std::unique_ptr<Verifier>>> CreateVerifiers(const config::TaskOptions& options);

}  // namespace tactus
