#include "learner/prompt_source.h"

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/tasks/completion_text.h"
#include "proto/config.pb.h"

namespace tactus {

PromptSource::PromptSource(std::unique_ptr<Task> task, std::unique_ptr<PromptEncoder> encoder, uint64_t seed,
                           int max_prompt_tokens)
    : task_(std::move(task)),
      encoder_(std::move(encoder)),
      max_prompt_tokens_(max_prompt_tokens),
      order_(seed, task_->Size(Split::kTrain)) {}

absl::StatusOr<std::unique_ptr<PromptSource>> PromptSource::Create(const config::RunConfig& config) {
  ASSIGN_OR_RETURN(std::unique_ptr<Task> task, CreateTask(config.task()));
  if (task->Size(Split::kTrain) == 0) {
    return absl::InvalidArgumentError(absl::StrCat("task ", config.task().name(), " has no train examples"));
  }
  ASSIGN_OR_RETURN(std::unique_ptr<PromptEncoder> encoder, PromptEncoder::Create(config.model()));
  return std::unique_ptr<PromptSource>(
      new PromptSource(std::move(task), std::move(encoder), config.seed(), config.rollout().max_prompt_tokens()));
}

absl::StatusOr<Prompt> PromptSource::At(uint64_t id) {
  const TaskExample example = task_->Example(Split::kTrain, order_.At(id));
  Prompt prompt{.id = id, .token_ids = {}, .answer_key_json = example.answer_key_json};
  ASSIGN_OR_RETURN(prompt.token_ids, encoder_->Encode(example, max_prompt_tokens_));
  return prompt;
}

absl::StatusOr<int> PromptSource::CountDisagreements(const TrajectoryGroup& group) {
  const TaskExample example = task_->Example(Split::kTrain, order_.At(group.prompt_id));
  int disagreements = 0;
  for (const Completion& completion : group.completions) {
    const absl::StatusOr<std::string> text =
        CompletionText(encoder_->tokenizer(), completion.token_ids, completion.finish_reason);
    Reward reward;  // of tokens that are no text
    if (text.ok()) {
      ASSIGN_OR_RETURN(reward, task_->verifier().Score(example.answer_key_json, *text));
    }
    disagreements += reward.total != completion.reward.total || reward.correct != completion.reward.correct ? 1 : 0;
  }
  return disagreements;
}

}  // namespace tactus
