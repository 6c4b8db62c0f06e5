// Turns finished groups into optimizer steps, data-parallel over the learner's ranks.
//
// Every rank is given the same groups in the same order, computes the advantages of all of them, runs forward, loss and
// backward on its own share of the sequences, and adds gradients and counts up with the other ranks; so all ranks hold
// the same parameters, bit for bit, after every step. A prompt that a group's completions share is computed once in a
// micro-batch. The loss is normalised by the counts of the whole update, hence
// the result does not depend on the number of ranks or micro-batches but for the order of sums.
//
// A step's groups may be given in portions. What is computed of them, and in which order, depends on the groups' order
// alone (MicroBatchPlan), and gradients lack the counts' factor until the update (LossScale): so the bits are the same
// in whichever portions they come. Where the options allow it (TrainerOptions::streams), a round of micro-batches, one
// of each rank, is computed as soon as no later group can change it; elsewhere all is computed when the last group is
// in.
//
// With updates_per_batch = U the groups are split evenly, in order, among U updates. The proximal policy (logp_old) is
// the one at the start of the step: recomputed for the later updates, once all groups are in, and the policy itself in
// the first.
// A completion whose advantages are exactly 0 has no gradient: without a KL term or an entropy bonus in the loss it
// is counted but not computed. One that options.mask_overlong leaves out is never computed; its reward counts for its
// group, and none of its tokens anywhere. Advantages come from the rewards of the whole step, after options.shaping, of
// answers or of turns as options.advantage_level says: a length penalty is its last turn's. The rewards that are told
// are the verifier's.
//
// Owned by one thread; blocks on the collective (bounded by its timeout). Owns the policies; borrows the collective.
// Errors: InvalidArgument for groups that cannot be trained on, before the parameters changed; the collective's errors,
// after which they may be part of a step ahead: restore a checkpoint. After an error of a portion, abandon the step.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/collective/collective.h"
#include "common/data/types.h"
#include "learner/train/packing.h"
#include "learner/train/step_stats.h"
#include "learner/train/token_totals.h"
#include "learner/train/trainable_policy.h"
#include "learner/train/trainer_options.h"

namespace tactus {

// One example of supervised training.
struct SftExample {
  std::vector<TokenId> prompt_token_ids;      // at least one
  std::vector<TokenId> completion_token_ids;  // at least one; what the loss is over
};

// Optimizer steps so far.
struct StepCounts {
  int64_t taken = 0;
  int64_t skipped = 0;  // their gradient was not finite, or too long
};

class Trainer {
 public:
  // `reference` is the starting policy for the KL term: given exactly when options.needs_reference() (InvalidArgument
  // otherwise), same shape as `policy`. `collective` outlives the trainer.
  static absl::StatusOr<std::unique_ptr<Trainer>> Create(const TrainerOptions& options,
                                                         std::unique_ptr<TrainablePolicy> policy,
                                                         std::unique_ptr<TrainablePolicy> reference,
                                                         Collective& collective);

  // One batch of `num_groups`: updates_per_batch optimizer steps. `current` is the version the parameters have now.
  // FailedPrecondition: a step was begun before.
  absl::Status BeginStep(size_t num_groups, PolicyVersion current);
  // The next groups of the step, borrowed until it ends. InvalidArgument also for more than there are to be.
  absl::Status AddGroups(std::span<const TrajectoryGroup> groups);
  // Once all are added. What the trainer does not know of the record stays absent: the step's number and time, waiting,
  // actors, credit, rhythm. FailedPrecondition: groups are missing.
  absl::StatusOr<StepRecord> FinishStep();
  // Forgets the step that was begun, if one was: parameters and moments are as before it.
  absl::Status AbandonStep();
  // All of it, of groups that are there already.
  absl::StatusOr<StepRecord> TrainStep(std::span<const TrajectoryGroup> groups, PolicyVersion current);

  // What this rank did since the last call, or since the step began, in order.
  std::vector<WorkSpan> TakeWork() { return std::exchange(work_, {}); }

  // One optimizer step on the mean negative log-prob of the completions' tokens.
  absl::StatusOr<SftStats> SftStep(const std::vector<SftExample>& examples);

  // Aborted, with what to do: options.max_skipped_updates in a row were skipped. The same on all ranks. The parameters
  // are those before them.
  absl::Status Diverged() const;

  // For publishing and checkpoints.
  TrainablePolicy& policy() { return *policy_; }
  const StepCounts& counts() const { return counts_; }
  bool streams() const { return options_.streams(); }
  // Every rank with its share. Goes on from a checkpoint: the errors of TrainableParameters::WriteState;
  // InvalidArgument: a negative count.
  absl::Status Restore(const ParameterState& state, const StepCounts& counts);

 private:
  // One optimizer step.
  struct Update {
    MicroBatchPlan plan;
    GlobalCounts counts = {};
    size_t next_round = 0;                          // the first that is not in the gradients
    std::vector<std::vector<float>> logp_old = {};  // by round [N]; empty in the first update of a step
    TokenTotals totals = {};
  };
  // A step that was begun.
  struct OpenStep {
    PolicyVersion current;
    size_t num_groups = 0;
    std::vector<const TrajectoryGroup*> groups;
    size_t planned = 0;  // of the groups
    std::vector<Update> updates;
    StepRecord stats;
    PhaseSeconds seconds;
    double completions = 0, advantages = 0, given_rewards = 0, shaped_rewards = 0;
    bool complete() const { return groups.size() == num_groups; }
  };
  using Groups = std::span<const TrajectoryGroup* const>;
  // One micro-batch of this rank; without sequences where passes are collective and it has none.
  struct Round {
    size_t index = 0;
    Collective* reduce_over = nullptr;  // for its Backward
  };
  struct StepOutcome {
    double lr = 0;
    AdamWResult result;
  };

  Trainer(const TrainerOptions& options, std::unique_ptr<TrainablePolicy> policy,
          std::unique_ptr<TrainablePolicy> reference, Collective& collective);

  absl::StatusOr<PerTurn> ShapedRewards(OpenStep& step, Groups groups);
  // Takes the KL of each turn's tokens off its reward; the mean k3 of a token goes to the step's record.
  absl::Status ChargeKl(OpenStep& step, Groups groups, PerTurn& rewards);
  // Rewards, advantages and the place in the plan of the groups that have none yet.
  absl::Status Plan(OpenStep& step);
  absl::Status PlanGroup(const TrajectoryGroup& group, std::vector<std::vector<double>> advantages, int32_t index,
                         Update& update, OpenStep& step) const;
  // Of an optimizer step, nothing added yet.
  MicroBatchPlan PlanOf(size_t num_groups) const;
  // Calls `run` for this rank's part of each round that stands, from `next` on. Where passes are collective every rank
  // has one in each.
  absl::Status RunRounds(const MicroBatchPlan& plan, PolicyVersion current, size_t& next,
                         absl::FunctionRef<absl::Status(const Round&, const TrainBatch&)> run) const;
  absl::Status ComputeOld(OpenStep& step, Update& update);
  absl::Status RunBatch(const Round& round, const TrainBatch& batch, Update& update, PhaseSeconds& seconds);
  absl::Status RunUpdate(OpenStep& step, Update& update);
  // `scale` is what gradients and losses lack.
  absl::StatusOr<StepOutcome> ReduceAndStep(TokenTotals& totals, double scale, PhaseSeconds& seconds);
  // A step's totals over all ranks and updates; what the options make meaningless is absent.
  void FillTotals(const TokenTotals& totals, StepRecord& stats) const;

  const TrainerOptions options_;
  const std::unique_ptr<TrainablePolicy> policy_;
  const std::unique_ptr<TrainablePolicy> reference_;
  Collective& collective_;
  StepCounts counts_;
  int64_t skipped_in_row_ = 0;  // since this trainer was made
  std::optional<OpenStep> open_;
  std::vector<WorkSpan> work_;
};

}  // namespace tactus
