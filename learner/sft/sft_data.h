// The token sequences of a supervised warm start.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/config/config_fwd.h"
#include "common/data/mixed_order.h"
#include "common/data/types.h"
#include "common/model/folder/model_config.h"
#include "common/tasks/prompt_encoder.h"
#include "common/tasks/task.h"
#include "learner/train/trainer.h"

namespace tactus {

// Examples in a shuffled order that depends on the seed alone. Not thread-safe.
class SftData {
 public:
  // From config.sft.data_path, or the task's own traces; all that the steps will use are looked at. What the files of
  // config.model disagree about goes to the log. InvalidArgument names the file and line, as task.unusable_rows says
  // (traces are made, so none is left out), or says that no file tells how an answer ends.
  static absl::StatusOr<std::unique_ptr<SftData>> Create(const config::RunConfig& config, const ModelConfig& model);

  // The example at a place in the endless shuffled sequence: every pass over the data is shuffled anew.
  // Its completion ends as the chat template ends an answer (ChatFacts::answer_end).
  absl::StatusOr<SftExample> At(uint64_t place);

 private:
  struct Row {
    TaskExample prompt;
    std::string response;
  };
  SftData(const PromptBounds& bounds, int max_completion_tokens)
      : bounds_(bounds), max_completion_tokens_(max_completion_tokens) {}
  absl::Status FindAnswerEnd(const config::RunConfig& config, const ModelConfig& model);
  absl::Status ReadFile(const std::string& path);
  absl::Status CheckRows(const config::RunConfig& config);
  absl::StatusOr<SftExample> Encode(const Row& row) const;

  TokenId answer_end_ = -1;
  const PromptBounds bounds_;
  const int max_completion_tokens_;
  std::unique_ptr<PromptEncoder> encoder_;
  std::unique_ptr<Task> task_;  // null when a file is read
  std::vector<Row> rows_;       // of the file
  std::optional<MixedOrder> order_;
};

}  // namespace tactus
