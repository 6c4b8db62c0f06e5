// The run's prompts by id: which example stands at each place of the run, as tokens.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/config/config_fwd.h"
#include "common/data/mixed_order.h"
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

  // The place in task.sources of the one that prompt `id` is of.
  uint32_t SourceOf(uint64_t id) { return order_.At(id).source; }

  // By which the prompt is passed over in turns to come (rollout.difficulty_floor).
  void Learn(const PromptOutcome& outcome);
  PromptDifficulty& difficulty() { return difficulty_; }

  // How many of a group's completions claim another reward than its source's verifier gives them here: an actor's word
  // is not taken for it. Of an environment's rewards it is: 0. Errors as Verifier's.
  absl::StatusOr<int> CountDisagreements(const TrajectoryGroup& group);

  // The same of the answers to a prompt of a held-out set, whose rewards become those that the verifier gives here.
  absl::StatusOr<int> CorrectHeldOut(absl::string_view set, TrajectoryGroup& group);

  // What the run's actors are measured on: eval's own set first, then eval.sets; none where others measure (eval.by).
  const std::vector<HeldOutSet>& held_out() const { return parts_.held_out; }

  // SHA-256 of the rows that the run may use, in their order and by their sources: a checkpoint goes on with the same.
  const std::string& fingerprint() const { return parts_.fingerprint; }

  const Tokenizer& tokenizer() const { return parts_.encoder->tokenizer(); }
  const PromptEncoder& encoder() const { return *parts_.encoder; }

 private:
  struct Parts {
    std::unique_ptr<Task> task;
    std::vector<std::unique_ptr<Verifier>> verifiers;  // of each source; null: an environment judges
    std::unique_ptr<PromptEncoder> encoder;
    PromptBounds bounds;
    std::vector<HeldOutSet> held_out;
    std::vector<uint32_t> rows;  // of the task's train set
    std::string fingerprint;
  };
  PromptSource(Parts parts, MixedOrder order, const config::RunConfig& config);
  // The rewards that the verifier gives a group's completions by this key.
  absl::StatusOr<std::vector<Reward>> Verify(const Verifier& verifier, const std::string& answer_key_json,
                                             const TrajectoryGroup& group) const;

  const Parts parts_;
  MixedOrder order_;             // of parts_.rows
  PromptDifficulty difficulty_;  // of parts_.rows
};

}  // namespace tactus
