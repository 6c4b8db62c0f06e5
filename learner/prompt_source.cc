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

absl::StatusOr<std::string> FingerprintOf(const Task& task, const std::vector<uint32_t>& rows) {
  Sha256 hash;
  const auto add = [&hash](const std::string& text) {
    hash.Update(absl::StrCat(text.size(), ":"));
    hash.Update(text);
  };
  for (const uint32_t row : rows) {
    ASSIGN_OR_RETURN(const TaskExample example, task.Example(Split::kTrain, row));
    for (const std::string* text : {&example.system, &example.user, &example.answer_key_json}) add(*text);
    if (!example.earlier.empty()) hash.Update("earlier");
    for (const ChatMessage& message : example.earlier) {
      add(message.role);
      add(message.content);
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

HeldOutSet MakeHeldOut(std::string name, std::vector<Prompt> prompts, int samples, double temperature,
                       const config::RolloutOptions& rollout) {
  return HeldOutSet{.name = std::move(name),
                    .prompts = std::make_shared<const std::vector<Prompt>>(std::move(prompts)),
                    .samples = samples,
                    .sampling = {.temperature = static_cast<float>(temperature),
                                 .top_p = static_cast<float>(rollout.top_p()),
                                 .top_k = rollout.top_k()}};
}

// The one of eval's own fields, where it has prompts, and eval.sets.
absl::StatusOr<std::vector<HeldOutSet>> HeldOutSets(const config::RunConfig& config, const Task& task,
                                                    const PromptEncoder& encoder, const PromptBounds& bounds) {
  const config::EvalOptions& eval = config.eval();
  std::vector<HeldOutSet> sets;
  ASSIGN_OR_RETURN(std::vector<Prompt> first,
                   HeldOutPrompts(config.task(), task, encoder, bounds, static_cast<size_t>(eval.max_prompts())));
  if (!first.empty()) {
    sets.push_back(MakeHeldOut("", std::move(first), eval.samples_per_prompt(), eval.temperature(), config.rollout()));
  }
  for (const config::EvalSet& set : eval.sets()) {
    std::unique_ptr<Task> other;
    config::TaskOptions options = config.task();
    if (!set.test_path().empty()) {
      options.set_test_path(set.test_path());
      ASSIGN_OR_RETURN(other, CreateTestSet(options));
    }
    ASSIGN_OR_RETURN(std::vector<Prompt> prompts, HeldOutPrompts(options, other == nullptr ? task : *other, encoder,
                                                                 bounds, static_cast<size_t>(set.max_prompts())));
    if (prompts.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("eval.sets: set \"", set.name(), "\" has no question that can be asked"));
    }
    sets.push_back(
        MakeHeldOut(set.name(), std::move(prompts), set.samples_per_prompt(), set.temperature(), config.rollout()));
  }
  return sets;
}

// Rows to train on.
absl::StatusOr<std::vector<uint32_t>> CheckRows(const config::RunConfig& config, const Task& task,
                                                const PromptEncoder& encoder, const PromptBounds& bounds) {
  const auto check = [&](uint32_t row) -> absl::Status {
    ASSIGN_OR_RETURN(const TaskExample example, task.Example(Split::kTrain, row));
    return encoder.Encode(example, bounds).status();
  };
  const size_t size = task.Size(Split::kTrain);
  // What is left out changes the order of the rest, so then the whole set counts, whatever the run's length.
  const bool leave_out = config.task().unusable_rows() == config::TaskOptions::LEAVE_OUT;
  ASSIGN_OR_RETURN(
      std::vector<uint32_t> usable,
      UsableRows(config.task(), "questions to train on", leave_out ? AllRows(size) : ReachedRows(config, size), check));
  return leave_out ? usable : AllRows(size);
}

// Of how many completions the group claims another reward.
int Differ(const std::vector<Reward>& rewards, const TrajectoryGroup& group) {
  int differ = 0;
  for (size_t i = 0; i < rewards.size(); ++i) {
    const Reward& claimed = group.completions[i].reward;
    differ += rewards[i].total != claimed.total || rewards[i].correct != claimed.correct ? 1 : 0;
  }
  return differ;
}

}  // namespace

PromptSource::PromptSource(std::unique_ptr<Task> task, std::unique_ptr<Verifier> verifier,
                           std::unique_ptr<PromptEncoder> encoder, const PromptBounds& bounds,
                           std::vector<uint32_t> rows, std::vector<HeldOutSet> held_out, std::string fingerprint,
                           const config::RunConfig& config)
    : task_(std::move(task)),
      verifier_(std::move(verifier)),
      encoder_(std::move(encoder)),
      bounds_(bounds),
      rows_(std::move(rows)),
      held_out_(std::move(held_out)),
      fingerprint_(std::move(fingerprint)),
      order_(config.seed(), rows_.size()),
      difficulty_(config.seed(), rows_.size(), config.rollout().difficulty_floor()) {}

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
  // Also where the learner does not ask them: what cannot be used is told before the first step.
  ASSIGN_OR_RETURN(std::vector<HeldOutSet> held_out, HeldOutSets(config, *task, *encoder, bounds));
  if (config.eval().by() != config::EvalOptions::ACTORS) held_out.clear();
  ASSIGN_OR_RETURN(std::vector<uint32_t> rows, CheckRows(config, *task, *encoder, bounds));
  ASSIGN_OR_RETURN(std::string fingerprint, FingerprintOf(*task, rows));
  return std::unique_ptr<PromptSource>(new PromptSource(std::move(task), std::move(verifier), std::move(encoder),
                                                        bounds, std::move(rows), std::move(held_out),
                                                        std::move(fingerprint), config));
}

absl::StatusOr<Prompt> PromptSource::At(uint64_t id) {
  ASSIGN_OR_RETURN(const TaskExample example, task_->Example(Split::kTrain, rows_[order_.At(id)]));
  Prompt prompt{.id = id, .token_ids = {}, .answer_key_json = example.answer_key_json};
  ASSIGN_OR_RETURN(prompt.token_ids, encoder_->Encode(example, bounds_));
  return prompt;
}

// Ends, since no prompt is passed over for ever: the floor is above 0.
absl::StatusOr<Prompt> PromptSource::Next(uint64_t id) {
  while (!difficulty_.Asks(id, order_.At(id))) ++id;
  return At(id);
}

void PromptSource::Learn(const PromptOutcome& outcome) {
  difficulty_.Learn(order_.At(outcome.prompt_id), outcome.right, outcome.answers);
}

absl::StatusOr<std::vector<Reward>> PromptSource::Verify(const std::string& answer_key_json,
                                                         const TrajectoryGroup& group) const {
  std::vector<Reward> rewards;
  for (const Completion& completion : group.completions) {
    const absl::StatusOr<std::string> text =
        CompletionText(encoder_->tokenizer(), completion.token_ids, completion.finish_reason);
    Reward reward{.reason = kUndecodableReason};  // of tokens that are no text
    if (text.ok()) {
      ASSIGN_OR_RETURN(reward, verifier_->Score(answer_key_json, *text));
    }
    rewards.push_back(std::move(reward));
  }
  return rewards;
}

absl::StatusOr<int> PromptSource::CountDisagreements(const TrajectoryGroup& group) {
  if (verifier_ == nullptr) return 0;
  ASSIGN_OR_RETURN(const TaskExample example, task_->Example(Split::kTrain, rows_[order_.At(group.prompt_id)]));
  ASSIGN_OR_RETURN(const std::vector<Reward> rewards, Verify(example.answer_key_json, group));
  return Differ(rewards, group);
}

absl::StatusOr<int> PromptSource::CorrectHeldOut(absl::string_view set, TrajectoryGroup& group) {
  if (verifier_ == nullptr) return 0;
  const std::vector<Prompt>& prompts = *std::ranges::find(held_out_, set, &HeldOutSet::name)->prompts;
  const auto prompt = std::ranges::lower_bound(prompts, group.prompt_id, {}, &Prompt::id);
  ASSIGN_OR_RETURN(std::vector<Reward> rewards, Verify(prompt->answer_key_json, group));
  const int disagreements = Differ(rewards, group);
  for (size_t i = 0; i < rewards.size(); ++i) group.completions[i].reward = std::move(rewards[i]);
  return disagreements;
}

}  // namespace tactus
