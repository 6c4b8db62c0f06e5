// The token sequences of a supervised warm start.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "common/config/config_fwd.h"
#include "common/data/shuffled_order.h"
#include "common/data/types.h"
#include "common/tasks/prompt_encoder.h"
#include "common/tasks/task.h"
#include "learner/train/trainer.h"

namespace tactus {

// Examples in a shuffled order that depends on the seed alone. Not thread-safe.
class SftData {
 public:
  // From config.sft.data_path, or the task's own traces. InvalidArgument names the file and line.
  static absl::StatusOr<std::unique_ptr<SftData>> Create(const config::RunConfig& config, TokenId eos);

  // The example at a place in the endless shuffled sequence: every pass over the data is shuffled anew.
  // Its completion ends with the model's eos.
  absl::StatusOr<SftExample> At(uint64_t place);

 private:
  explicit SftData(TokenId eos) : eos_(eos) {}
  absl::Status ReadFile(const std::string& path);
  size_t size() const;

  const TokenId eos_;
  int max_prompt_tokens_ = 0, max_completion_tokens_ = 0;
  std::unique_ptr<PromptEncoder> encoder_;
  std::unique_ptr<Task> task_;                              // null when a file is read
  std::vector<std::pair<std::string, std::string>> pairs_;  // prompt and response, from the file
  std::optional<ShuffledOrder> order_;
};

}  // namespace tactus
