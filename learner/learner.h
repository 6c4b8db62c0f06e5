// One learner rank from its start to its end: the training loop, from finished groups to new weights.
//
// Every rank serves /metrics, /healthz and /readyz and trains (rank.h). Rank 0 also hosts the ledger, the rollout
// stream and the weight service, keeps the records and writes checkpoints (coordinator.h). Who waits for whom in a
// step:
//
//   rank 0       P finished groups of actors, a slice of 1 s at a time, so that a stop is seen; the others are told
//                about every 5 s that they are still awaited
//   other ranks  rank 0's order for the step, at most learner.collective_timeout_s; so what rank 0 does alone between
//                two orders (to publish weights) must take less than that; a checkpoint is written beside
//   all ranks    the gradient all-reduce, at most learner.collective_timeout_s
#pragma once

#include <atomic>

#include "absl/status/status.h"
#include "learner/rank.h"

namespace tactus {

// Loads the model (and checkpoint), joins the other ranks, serves; trains until learner.steps are done, or *stop is set
// at any rank, and then writes a checkpoint. Blocks. Errors as LockCheckpoints, Rank::Create, Rank::Restore and
// Coordinator::Create, and those of the disk and of the collective, each as its phase has it (exit_code.h). Cancelled:
// stopped before the last step, with that checkpoint complete.
absl::Status RunLearner(LearnerOptions options, const std::atomic<bool>* stop);

}  // namespace tactus
