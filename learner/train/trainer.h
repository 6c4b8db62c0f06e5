// Turns finished groups into optimizer steps, data-parallel over the learner's ranks.
//
// Every rank calls TrainStep with the same groups in the same order, computes the advantages of all of them, runs
// forward, loss and backward on its own share of the sequences, and adds gradients and counts up with the other ranks;
// so all ranks hold the same parameters, bit for bit, after every call. The loss is normalised by the counts of the
// whole update, hence the result does not depend on the number of ranks or micro-batches but for the order of sums.
//
// With updates_per_batch = U the groups are split evenly, in order, among U updates. The proximal policy (logp_old) is
// the one at the start of the call: recomputed for the later updates, and the policy itself in the first.
// A completion whose advantage is exactly 0 has no gradient: without a KL term in the loss it is counted but not
// computed. One that options.mask_overlong leaves out is never computed; its reward counts for its group, and none of
// its tokens anywhere.
// Advantages come from the rewards of the whole call, after options.shaping; the rewards that are told are the
// verifier's.
//
// Owned by one thread; blocks on the collective (bounded by its timeout). Owns the policies; borrows the collective.
// Errors: InvalidArgument for groups that cannot be trained on, before anything changed; the collective's errors, after
// which the parameters may be part of a step ahead: restore a checkpoint.
#pragma once

#include <memory>
#include <span>
#include <vector>

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

  // One batch: updates_per_batch optimizer steps. `current` is the version the parameters have now. What the trainer
  // does not know of the record stays absent: the step's number and time, waiting, actors, credit, rhythm.
  absl::StatusOr<StepRecord> TrainStep(const std::vector<TrajectoryGroup>& groups, PolicyVersion current);

  // One optimizer step on the mean negative log-prob of the completions' tokens.
  absl::StatusOr<SftStats> SftStep(const std::vector<SftExample>& examples);

  // Aborted, with what to do: options.max_skipped_updates in a row were skipped. The same on all ranks. The parameters
  // are those before them.
  absl::Status Diverged() const;

  // For publishing and checkpoints.
  TrainablePolicy& policy() { return *policy_; }
  const StepCounts& counts() const { return counts_; }
  // Every rank with its share. Goes on from a checkpoint: the errors of TrainableParameters::WriteState;
  // InvalidArgument: a negative count.
  absl::Status Restore(const ParameterState& state, const StepCounts& counts);

 private:
  // One optimizer step's share of this rank.
  struct Update {
    GlobalCounts counts;
    std::vector<TrainBatch> batches;
    std::vector<std::vector<float>> logp_old;  // per batch [N]; empty in the first update of a call
  };
  struct StepOutcome {
    double lr = 0;
    AdamWResult result;
  };

  Trainer(const TrainerOptions& options, std::unique_ptr<TrainablePolicy> policy,
          std::unique_ptr<TrainablePolicy> reference, Collective& collective);

  // Of each group's completions.
  using PerCompletion = std::vector<std::vector<double>>;
  absl::StatusOr<PerCompletion> ShapedRewards(const std::vector<TrajectoryGroup>& groups, PolicyVersion current,
                                              StepRecord& stats, PhaseSeconds& seconds);
  // Takes the KL off `rewards`; the mean k3 of a token goes to `stats`.
  absl::Status ChargeKl(const std::vector<TrajectoryGroup>& groups, PolicyVersion current, PerCompletion& rewards,
                        StepRecord& stats, PhaseSeconds& seconds);
  absl::StatusOr<Update> PrepareUpdate(std::span<const TrajectoryGroup> groups,
                                       std::span<const std::vector<double>> advantages, PolicyVersion current,
                                       StepRecord& stats) const;
  absl::StatusOr<std::vector<TrainBatch>> PackShare(std::span<const SequenceView> sequences,
                                                    PolicyVersion current) const;
  absl::Status ComputeOld(Update& update, PhaseSeconds& seconds);
  absl::Status RunBatch(const Update& update, size_t index, TokenTotals& totals, PhaseSeconds& seconds);
  // The collective for the Backward of the last of `batches`, null before it.
  Collective* ReduceAfter(size_t index, const std::vector<TrainBatch>& batches) const;
  absl::StatusOr<StepOutcome> ReduceAndStep(TokenTotals& totals, PhaseSeconds& seconds);
  // A step's totals over all ranks and updates; what the options make meaningless is absent.
  void FillTotals(const TokenTotals& totals, StepRecord& stats) const;

  const TrainerOptions options_;
  const std::unique_ptr<TrainablePolicy> policy_;
  const std::unique_ptr<TrainablePolicy> reference_;
  Collective& collective_;
  StepCounts counts_;
  int64_t skipped_in_row_ = 0;  // since this trainer was made
};

}  // namespace tactus
