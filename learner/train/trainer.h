// Turns finished groups into optimizer steps, data-parallel over the learner's ranks.
//
// Every rank calls TrainStep with the same groups in the same order, computes the advantages of all of them, runs
// forward, loss and backward on its own share of the sequences, and adds gradients and counts up with the other ranks;
// so all ranks hold the same parameters, bit for bit, after every call. The loss is normalised by the counts of the
// whole update, hence the result does not depend on the number of ranks or micro-batches but for the order of sums.
//
// With updates_per_batch = U the groups are split evenly, in order, among U updates. The proximal policy (logp_old) is
// the one at the start of the call: recomputed for the later updates, and the policy itself in the first.
// A completion whose advantage is exactly 0 has no gradient: without a KL term it is counted but not computed.
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
#include "learner/train/adamw.h"
#include "learner/train/gradient_buckets.h"
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

class Trainer {
 public:
  // `reference` is the starting policy for the KL term: needed exactly when options.loss.kl_beta > 0
  // (InvalidArgument otherwise), same shape as `policy`. `collective` outlives the trainer.
  static absl::StatusOr<std::unique_ptr<Trainer>> Create(const TrainerOptions& options,
                                                         std::unique_ptr<TrainablePolicy> policy,
                                                         std::unique_ptr<TrainablePolicy> reference,
                                                         Collective& collective);

  // One batch: updates_per_batch optimizer steps. `current` is the version the parameters have now; mismatch_on_policy
  // covers the tokens it sampled.
  absl::StatusOr<StepStats> TrainStep(const std::vector<TrajectoryGroup>& groups, PolicyVersion current);

  // One optimizer step on the mean negative log-prob of the completions' tokens.
  absl::StatusOr<SftStats> SftStep(const std::vector<SftExample>& examples);

  // For publishing and checkpoints. After writing to parameters or moments, call policy().ParametersChanged().
  TrainablePolicy& policy() { return *policy_; }
  AdamW& optimizer() { return optimizer_; }

 private:
  // One optimizer step's share of this rank.
  struct Update {
    GlobalCounts counts;
    std::vector<TrainBatch> batches;
    std::vector<std::vector<float>> logp_old;  // per batch [N]; empty in the first update of a call
  };
  struct StepOutcome {
    double lr = 0;
    AdamW::StepResult result;
  };

  Trainer(const TrainerOptions& options, std::unique_ptr<TrainablePolicy> policy,
          std::unique_ptr<TrainablePolicy> reference, Collective& collective);

  absl::StatusOr<Update> PrepareUpdate(std::span<const TrajectoryGroup> groups, PolicyVersion current,
                                       StepStats& stats) const;
  absl::StatusOr<std::vector<TrainBatch>> PackShare(std::span<const SequenceView> sequences,
                                                    PolicyVersion current) const;
  void ComputeOld(Update& update, PhaseSeconds& seconds);
  void RunBatch(const Update& update, size_t index, TokenTotals& totals, PhaseSeconds& seconds);
  absl::StatusOr<StepOutcome> ReduceAndStep(TokenTotals& totals, PhaseSeconds& seconds);

  const TrainerOptions options_;
  const std::unique_ptr<TrainablePolicy> policy_;
  const std::unique_ptr<TrainablePolicy> reference_;
  Collective& collective_;
  const std::vector<GradientBucket> gradient_buckets_;
  AdamW optimizer_;
};

}  // namespace tactus
