// The run's prompts by id: which example stands at each place of the run, as tokens.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "common/config/config_fwd.h"
#include "common/data/shuffled_order.h"
#include "common/data/types.h"
#include "common/tasks/prompt_encoder.h"
#include "common/tasks/task.h"

namespace tactus {

// Prompt `id` is a pure function of the configuration, so a data cursor is the next id and nothing else is saved.
// Not thread-safe.
class PromptSource {
 public:
  static absl::StatusOr<std::unique_ptr<PromptSource>> Create(const config::RunConfig& config);

  // InvalidArgument: the example has more tokens than rollout.max_prompt_tokens.
  absl::StatusOr<Prompt> At(uint64_t id);

  // How many of a group's completions claim another reward than the task's verifier gives them here: an actor's word is
  // not taken for it. Errors as Verifier's.
  absl::StatusOr<int> CountDisagreements(const TrajectoryGroup& group);

  const Tokenizer& tokenizer() const { return encoder_->tokenizer(); }

 private:
  PromptSource(std::unique_ptr<Task> task, std::unique_ptr<PromptEncoder> encoder, uint64_t seed,
               int max_prompt_tokens);

  const std::unique_ptr<Task> task_;
  const std::unique_ptr<PromptEncoder> encoder_;
  const int max_prompt_tokens_;
  ShuffledOrder order_;
};

}  // namespace tactus
