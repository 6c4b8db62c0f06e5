// What a training step reports: a StepRecord of which the trainer fills what it knows, or for a supervised step
// SftStats.
#pragma once

#include <cstdint>
#include <span>

#include "absl/time/time.h"
#include "common/data/turn_rewards.h"
#include "common/data/types.h"
#include "common/metrics/step_record.h"
#include "common/metrics/timeline.h"

namespace tactus {

// Wall-clock seconds of this rank.
struct PhaseSeconds {
  double forward = 0;  // of policy, proximal policy and reference
  double backward = 0;
  double allreduce = 0;
  double optimizer = 0;  // with the rounding of the new weights
};

// A stretch of a step on this rank, on the monotonic clock.
struct WorkSpan {
  LearnerWork work = LearnerWork::kPasses;
  absl::Time from, to;
};

struct SftStats {
  double loss = 0;  // mean negative log-prob of a completion token, nats
  double grad_norm = 0;
  double lr = 0;
  bool skipped = false;
  int64_t completion_tokens = 0;  // over all ranks
  int64_t prompt_tokens = 0;
  PhaseSeconds seconds;
};

// Fills what is told of all groups, but the advantages, and what the loop alone knows.
void FillGroupStats(std::span<const TrajectoryGroup* const> groups, PolicyVersion current, AdvantageLevel level,
                    StepRecord& stats);

}  // namespace tactus
