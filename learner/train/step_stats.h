// What a training step reports. Plain values; the learner writes them to metrics, the log and the display.
#pragma once

#include <cstdint>
#include <vector>

#include "common/data/types.h"

namespace tactus {

// The gap between the log-prob the actor recorded and the one the learner recomputes, over the tokens computed.
struct MismatchStats {
  double tokens = 0;
  double mean_abs = 0;  // mean |delta log p|, nats
  double max_abs = 0;
  double kl = 0;  // k3 estimate of KL(actor || learner), nats per token
};

// Wall-clock seconds of this rank.
struct PhaseSeconds {
  double forward = 0;  // of policy, proximal policy and reference
  double backward = 0;
  double allreduce = 0;
  double optimizer = 0;  // with the rounding of the new weights
};

struct StepStats {
  double loss = 0;       // mean over the step's updates
  double kl_loss = 0;    // the KL term's part of it
  double grad_norm = 0;  // before clipping, mean over the updates that were not skipped
  double lr = 0;         // of the last update
  int64_t updates = 0;
  int64_t skipped_updates = 0;  // their gradient was not finite
  bool skipped() const { return skipped_updates > 0; }

  // Of all groups.
  double reward_mean = 0;
  double reward_std = 0;  // population
  double correct_rate = 0;
  double zero_signal_share = 0;  // groups whose completions all earned the same
  double completion_tokens_mean = 0;
  double advantage_mean = 0, advantage_min = 0, advantage_max = 0;  // of completions, before credit
  double entropy_mean = 0;                                          // as the actor recorded it, nats
  double staleness_mean = 0;  // optimizer steps between the version that sampled a token and the current one
  double staleness_max = 0;

  // Of the tokens computed. Completions without any advantage are left out when there is no KL term.
  MismatchStats mismatch;
  MismatchStats mismatch_on_policy;  // tokens that the current version sampled
  double kl_old = 0;                 // k3, proximal policy against the new one
  double kl_reference = 0;           // k3, against the starting policy; 0 without one
  double clip_low_fraction = 0, clip_high_fraction = 0;
  double clip_fraction() const { return clip_low_fraction + clip_high_fraction; }
  double ratio_max = 0;
  double tis_weight_mean = 0;
  double tis_weight_max = 0;
  double tis_capped_share = 0;

  // Over all ranks and updates; packing has no padding.
  int64_t completion_tokens = 0;  // computed and trained on
  int64_t prompt_tokens = 0;      // computed before them
  int64_t skipped_tokens = 0;     // completion tokens left out, having no signal
  PhaseSeconds seconds;
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

// Fills the fields "of all groups".
void FillGroupStats(const std::vector<TrajectoryGroup>& groups, PolicyVersion current, StepStats& stats);

}  // namespace tactus
