// Sums over the tokens of a step, on one rank or over all. Internal to the Trainer.
#pragma once

#include <span>

#include "absl/status/status.h"
#include "common/collective/collective.h"
#include "learner/algo/policy_loss.h"
#include "learner/train/packing.h"
#include "learner/train/step_stats.h"

namespace tactus {

struct MismatchTotals {
  double tokens = 0;
  double abs = 0;
  double kl = 0;
  double max_abs = 0;

  void Add(double behavior_logprob, double recomputed_logprob);
};

struct TokenTotals {
  LossTotals loss;
  MismatchTotals mismatch, on_policy;

  // `recomputed` [N] by the proximal policy.
  void AddMismatch(const TrainBatch& batch, std::span<const float> recomputed);
  // Becomes the sum (and maximum) over ranks. Blocks; returns the collective's error.
  absl::Status Reduce(Collective& collective);
  TokenTotals& operator+=(const TokenTotals& other);
  // What is told of the tokens computed; without any it stays absent.
  void Fill(StepRecord& stats) const;
};

}  // namespace tactus
