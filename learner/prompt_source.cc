#include "learner/prompt_source.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "common/config/task_sources.h"
#include "common/environment/open_task.h"
#include "common/tasks/completion_text.h"
#include "common/tasks/train_order.h"
#include "common/tasks/usable_rows.h"
#include "proto/config.pb.h"

namespace tactus {
namespace {

constexpr char kTrainQuestions[] = "questions to train on";

absl::StatusOr<std::string> FingerprintOf(const Task& task, const std::vector<uint32_t>& rows) {
  Sha256 hash;
  const auto add = [&hash](const std::string& text) {
    hash.Update(absl::StrCat(text.size(), ":"));
    hash.Update(text);
  };
  uint32_t source = 0;
  for (const uint32_t row : rows) {
    // Where one ends and the next begins decides on the order, too.
    for (; source < task.SourceOf(Split::kTrain, row); ++source) hash.Update("source");
    const absl::StatusOr<TaskExample> read = task.Example(Split::kTrain, row);
    // Held out by another source. It stands in the way of a run that does not reach it, too, as within one source.
    if (absl::IsInvalidArgument(read.status())) {
      return absl::InvalidArgumentError(absl::StrCat(read.status().message(), kLeaveOutHint));
    }
    RETURN_IF_ERROR(read.status());
    const TaskExample& example = *read;
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
absl::StatusOr<std::vector<uint32_t>> ReachedRows(const config::RunConfig& config, const Task& task) {
  ASSIGN_OR_RETURN(MixedOrder order, TrainOrder(config, task, AllRows(task.Size(Split::kTrain))));
  return order.Reached(static_cast<uint64_t>(config.learner().steps()) *
                       static_cast<uint64_t>(config.rollout().prompts_per_step()));
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

// Of one of eval.sets: the task's held-out prompts, or a source's, or those of a file.
absl::StatusOr<std::vector<Prompt>> PromptsOf(const config::TaskOptions& options, const config::EvalSet& set,
                                              const Task& task, const PromptEncoder& encoder,
                                              const PromptBounds& bounds) {
  const std::optional<size_t> source = config::SourceIndex(options, set.source());
  const auto count = static_cast<size_t>(set.max_prompts());
  if (set.test_path().empty()) {
    return HeldOutPrompts(options, task, encoder, bounds, HeldOutRows(task, source, count));
  }
  config::TaskOptions file = config::SourcesOf(options)[source.value_or(0)];
  file.set_test_path(set.test_path());
  ASSIGN_OR_RETURN(const std::unique_ptr<Task> other, CreateTestSet(file));
  ASSIGN_OR_RETURN(std::vector<Prompt> prompts,
                   HeldOutPrompts(options, *other, encoder, bounds, HeldOutRows(*other, std::nullopt, count)));
  for (Prompt& prompt : prompts) prompt.source = static_cast<uint32_t>(source.value_or(0));
  return prompts;
}

// The one of eval's own fields, where it has prompts, and eval.sets.
absl::StatusOr<std::vector<HeldOutSet>> HeldOutSets(const config::RunConfig& config, const Task& task,
                                                    const PromptEncoder& encoder, const PromptBounds& bounds) {
  const config::EvalOptions& eval = config.eval();
  std::vector<HeldOutSet> sets;
  ASSIGN_OR_RETURN(std::vector<Prompt> first,
                   HeldOutPrompts(config.task(), task, encoder, bounds,
                                  HeldOutRows(task, std::nullopt, static_cast<size_t>(eval.max_prompts()))));
  if (!first.empty()) {
    sets.push_back(MakeHeldOut("", std::move(first), eval.samples_per_prompt(), eval.temperature(), config.rollout()));
  }
  for (const config::EvalSet& set : eval.sets()) {
    ASSIGN_OR_RETURN(std::vector<Prompt> prompts, PromptsOf(config.task(), set, task, encoder, bounds));
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
  const std::vector<uint32_t> all = AllRows(task.Size(Split::kTrain));
  // What is left out changes the order of the rest, so then the whole set counts, whatever the run's length.
  const bool leave_out = config.task().unusable_rows() == config::TaskOptions::LEAVE_OUT;
  if (leave_out) return UsableRows(config.task(), kTrainQuestions, all, check);
  ASSIGN_OR_RETURN(const std::vector<uint32_t> reached, ReachedRows(config, task));
  RETURN_IF_ERROR(UsableRows(config.task(), kTrainQuestions, reached, check).status());
  return all;
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

PromptSource::PromptSource(Parts parts, MixedOrder order, const config::RunConfig& config)
    : parts_(std::move(parts)),
      order_(std::move(order)),
      difficulty_(config.seed(), parts_.rows.size(), config.rollout().difficulty_floor()) {}

absl::StatusOr<std::unique_ptr<PromptSource>> PromptSource::Create(const config::RunConfig& config,
                                                                   int64_t vocab_size) {
  Parts parts;
  ASSIGN_OR_RETURN(parts.task, OpenTask(config));
  const Task& task = *parts.task;
  ASSIGN_OR_RETURN(parts.verifiers, CreateVerifiers(config.task()));
  ASSIGN_OR_RETURN(parts.encoder, PromptEncoder::Create(config.model()));
  parts.bounds = {.max_tokens = config.rollout().max_prompt_tokens(), .vocab_size = vocab_size};
  // Also where the learner does not ask them: what cannot be used is told before the first step.
  ASSIGN_OR_RETURN(parts.held_out, HeldOutSets(config, task, *parts.encoder, parts.bounds));
  if (config.eval().by() != config::EvalOptions::ACTORS) parts.held_out.clear();
  ASSIGN_OR_RETURN(parts.rows, CheckRows(config, task, *parts.encoder, parts.bounds));
  ASSIGN_OR_RETURN(MixedOrder order, TrainOrder(config, task, parts.rows));
  ASSIGN_OR_RETURN(parts.fingerprint, FingerprintOf(task, parts.rows));
  return std::unique_ptr<PromptSource>(new PromptSource(std::move(parts), std::move(order), config));
}

absl::StatusOr<Prompt> PromptSource::At(uint64_t id) {
  const MixedOrder::Place place = order_.At(id);
  ASSIGN_OR_RETURN(const TaskExample example, parts_.task->Example(Split::kTrain, parts_.rows[place.element]));
  Prompt prompt{.id = id, .token_ids = {}, .answer_key_json = example.answer_key_json, .source = place.source};
  ASSIGN_OR_RETURN(prompt.token_ids, parts_.encoder->Encode(example, parts_.bounds));
  return prompt;
}

// Ends, since no prompt is passed over for ever: the floor is above 0.
absl::StatusOr<Prompt> PromptSource::Next(uint64_t id) {
  while (!difficulty_.Asks(id, order_.At(id).element)) ++id;
  return At(id);
}

void PromptSource::Learn(const PromptOutcome& outcome) {
  difficulty_.Learn(order_.At(outcome.prompt_id).element, outcome.right, outcome.answers);
}

absl::StatusOr<std::vector<Reward>> PromptSource::Verify(const Verifier& verifier, const std::string& answer_key_json,
                                                         const TrajectoryGroup& group) const {
  std::vector<Reward> rewards;
  for (const Completion& completion : group.completions) {
    const absl::StatusOr<std::string> text =
        CompletionText(tokenizer(), completion.token_ids, completion.finish_reason);
    Reward reward{.reason = kUndecodableReason};  // of tokens that are no text
    if (text.ok()) {
      ASSIGN_OR_RETURN(reward, verifier.Score(answer_key_json, *text));
    }
    rewards.push_back(std::move(reward));
  }
  return rewards;
}

absl::StatusOr<int> PromptSource::CountDisagreements(const TrajectoryGroup& group) {
  const MixedOrder::Place place = order_.At(group.prompt_id);
  const Verifier* const verifier = parts_.verifiers[place.source].get();
  if (verifier == nullptr) return 0;
  ASSIGN_OR_RETURN(const TaskExample example, parts_.task->Example(Split::kTrain, parts_.rows[place.element]));
  ASSIGN_OR_RETURN(const std::vector<Reward> rewards, Verify(*verifier, example.answer_key_json, group));
  return Differ(rewards, group);
}

absl::StatusOr<int> PromptSource::CorrectHeldOut(absl::string_view set, TrajectoryGroup& group) {
  const std::vector<Prompt>& prompts = *std::ranges::find(parts_.held_out, set, &HeldOutSet::name)->prompts;
  const auto prompt = std::ranges::lower_bound(prompts, group.prompt_id, {}, &Prompt::id);
  const Verifier* const verifier = parts_.verifiers[prompt->source].get();
  if (verifier == nullptr) return 0;
  ASSIGN_OR_RETURN(std::vector<Reward> rewards, Verify(*verifier, prompt->answer_key_json, group));
  const int disagreements = Differ(rewards, group);
  for (size_t i = 0; i < rewards.size(); ++i) group.completions[i].reward = std::move(rewards[i]);
  return disagreements;
}

}  // namespace tactus
