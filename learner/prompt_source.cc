#include "learner/prompt_source.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "common/config/run_config.h"
#include "common/environment/open_task.h"
#include "common/tasks/completion_text.h"
#include "common/tasks/usable_rows.h"
#include "proto/config.pb.h"

namespace tactus {
namespace {

std::string FingerprintOf(const Task& task, const std::vector<uint32_t>& rows) {
  Sha256 hash;
  for (const uint32_t row : rows) {
    const TaskExample example = task.Example(Split::kTrain, row);
    for (const std::string& text : {example.system, example.user, example.answer_key_json}) {
      hash.Update(absl::StrCat(text.size(), ":"));
      hash.Update(text);
    }
  }
  return hash.FinishHex();
}

// The rows of the train set that the run's steps reach.
std::vector<uint32_t> ReachedRows(const config::RunConfig& config, size_t size) {
  const uint64_t prompts =
      static_cast<uint64_t>(config.learner().steps()) * static_cast<uint64_t>(config.rollout().prompts_per_step());
  if (prompts >= size) return AllRows(size);
  ShuffledOrder order(config.seed(), size);
  std::vector<uint32_t> rows;
  for (uint64_t place = 0; place < prompts; ++place) rows.push_back(static_cast<uint32_t>(order.At(place)));
  std::ranges::sort(rows);
  return rows;
}

// Rows to train on; InvalidArgument also when one of the questions that the run is measured on cannot be used.
absl::StatusOr<std::vector<uint32_t>> CheckRows(const config::RunConfig& config, const Task& task,
                                                const PromptEncoder& encoder, const PromptBounds& bounds) {
  const auto check_of = [&](Split split) {
    return [&, split](uint32_t row) { return encoder.Encode(task.Example(split, row), bounds).status(); };
  };
  const size_t measured = std::min<size_t>(task.Size(Split::kTest), static_cast<size_t>(config.eval().max_prompts()));
  RETURN_IF_ERROR(UsableRows(config.task(), "held-out questions", AllRows(measured), check_of(Split::kTest)).status());
  const size_t size = task.Size(Split::kTrain);
  // What is left out changes the order of the rest, so then the whole set counts, whatever the run's length.
  const bool leave_out = config.task().unusable_rows() == config::TaskOptions::LEAVE_OUT;
  ASSIGN_OR_RETURN(std::vector<uint32_t> usable,
                   UsableRows(config.task(), "questions to train on",
                              leave_out ? AllRows(size) : ReachedRows(config, size), check_of(Split::kTrain)));
  return leave_out ? usable : AllRows(size);
}

}  // namespace

PromptSource::PromptSource(std::unique_ptr<Task> task, std::unique_ptr<Verifier> verifier,
                           std::unique_ptr<PromptEncoder> encoder, const PromptBounds& bounds,
                           std::vector<uint32_t> rows, uint64_t seed)
    : task_(std::move(task)),
      verifier_(std::move(verifier)),
      encoder_(std::move(encoder)),
      bounds_(bounds),
      rows_(std::move(rows)),
      fingerprint_(FingerprintOf(*task_, rows_)),
      order_(seed, rows_.size()) {}

absl::StatusOr<std::unique_ptr<PromptSource>> PromptSource::Create(const config::RunConfig& config,
                                                                   int64_t vocab_size) {
  ASSIGN_OR_RETURN(std::unique_ptr<Task> task, OpenTask(config));
  std::unique_ptr<Verifier> verifier;
  if (!config::EnvironmentJudges(config.task())) {
    ASSIGN_OR_RETURN(verifier, CreateVerifier(config.task().name(), config.task().format_reward()));
  }
  if (task->Size(Split::kTrain) == 0) {
    return absl::InvalidArgumentError(absl::StrCat("task ", config.task().name(), " has no train examples"));
  }
  ASSIGN_OR_RETURN(std::unique_ptr<PromptEncoder> encoder, PromptEncoder::Create(config.model()));
  const PromptBounds bounds = {.max_tokens = config.rollout().max_prompt_tokens(), .vocab_size = vocab_size};
  ASSIGN_OR_RETURN(std::vector<uint32_t> rows, CheckRows(config, *task, *encoder, bounds));
  return std::unique_ptr<PromptSource>(new PromptSource(std::move(task), std::move(verifier), std::move(encoder),
                                                        bounds, std::move(rows), config.seed()));
}

absl::StatusOr<Prompt> PromptSource::At(uint64_t id) {
  const TaskExample example = task_->Example(Split::kTrain, rows_[order_.At(id)]);
  Prompt prompt{.id = id, .token_ids = {}, .answer_key_json = example.answer_key_json};
  ASSIGN_OR_RETURN(prompt.token_ids, encoder_->Encode(example, bounds_));
  return prompt;
}

absl::StatusOr<int> PromptSource::CountDisagreements(const TrajectoryGroup& group) {
  if (verifier_ == nullptr) return 0;
  const TaskExample example = task_->Example(Split::kTrain, rows_[order_.At(group.prompt_id)]);
  int disagreements = 0;
  for (const Completion& completion : group.completions) {
    const absl::StatusOr<std::string> text =
        CompletionText(encoder_->tokenizer(), completion.token_ids, completion.finish_reason);
    Reward reward;  // of tokens that are no text
    if (text.ok()) {
      ASSIGN_OR_RETURN(reward, verifier_->Score(example.answer_key_json, *text));
    }
    disagreements += reward.total != completion.reward.total || reward.correct != completion.reward.correct ? 1 : 0;
  }
  return disagreements;
}

}  // namespace tactus
