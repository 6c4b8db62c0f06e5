// The run's prompts by id: which example stands at each place of the run, as tokens.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/config/config_fwd.h"
#include "common/data/shuffled_order.h"
#include "common/data/types.h"
#include "common/tasks/held_out_prompts.h"
#include "common/tasks/prompt_encoder.h"
#include "common/tasks/task.h"
#include "learner/ledger/ledger_types.h"
#include "learner/prompt_difficulty.h"

namespace tactus {

// Prompt `id` is a pure function of the configuration and the data, so a data cursor is the next id, and what is saved
// beside it is how well the prompts were solved, where that says which ids are passed over. Not thread-safe.
class PromptSource {
 public:
  // Looks at every row that the run will use, to train or to be measured on: the wait is about 50 us each.
  // InvalidArgument: task.unusable_rows.
  static absl::StatusOr<std::unique_ptr<PromptSource>> Create(const config::RunConfig& config, int64_t vocab_size);

  // InvalidArgument: more prompts are asked for than the run has steps for, and this one cannot be used.
  absl::StatusOr<Prompt> At(uint64_t id);
  // The first from `id` on that is to be asked. Errors likewise.
  absl::StatusOr<Prompt> Next(uint64_t id);

  // By which the prompt is passed over in turns to come (rollout.difficulty_floor).
  void Learn(const PromptOutcome& outcome);
  PromptDifficulty& difficulty() { return difficulty_; }

  // How many of a group's completions claim another reward than the task's verifier gives them here: an actor's word is
  // not taken for it. Of an environment's rewards it is: 0. Errors as Verifier's.
  absl::StatusOr<int> CountDisagreements(const TrajectoryGroup& group);

  // The same of the answers to a prompt of a held-out set, whose rewards become those that the verifier gives here.
  absl::StatusOr<int> CorrectHeldOut(absl::string_view set, TrajectoryGroup& group);

  // What the run's actors are measured on: eval's own set first, then eval.sets; none where others measure (eval.by).
  const std::vector<HeldOutSet>& held_out() const { return held_out_; }

  // SHA-256 of the rows that the run may use, in their order: a checkpoint goes on with the same.
  const std::string& fingerprint() const { return fingerprint_; }

  const Tokenizer& tokenizer() const { return encoder_->tokenizer(); }
  const PromptEncoder& encoder() const { return *encoder_; }

 private:
  PromptSource(std::unique_ptr<Task> task, std::unique_ptr<Verifier> verifier, std::unique_ptr<PromptEncoder> encoder,
               const PromptBounds& bounds, std::vector<uint32_t> rows, std::vector<HeldOutSet> held_out,
               std::string fingerprint, const config::RunConfig& config);
  // The rewards that the verifier gives a group's completions by this key.
  absl::StatusOr<std::vector<Reward>> Verify(const std::string& answer_key_json, const TrajectoryGroup& group) const;

  const std::unique_ptr<Task> task_;
  const std::unique_ptr<Verifier> verifier_;  // null: an environment judges
  const std::unique_ptr<PromptEncoder> encoder_;
  const PromptBounds bounds_;
  const std::vector<uint32_t> rows_;  // of the task's train set
  const std::vector<HeldOutSet> held_out_;
  const std::string fingerprint_;
  ShuffledOrder order_;          // of rows_
  PromptDifficulty difficulty_;  // of rows_
};

}  // namespace tactus
