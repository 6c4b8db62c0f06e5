// What an actor has done, and what it is doing.
#pragma once

#include <cstdint>
#include <optional>

#include "actor/engine/scheduler.h"
#include "common/data/types.h"

namespace tactus {

// Counts since start; gauges of this moment.
struct ActorStats {
  int64_t groups_leased = 0;
  int64_t groups_submitted = 0;  // acknowledged, to be trained on
  int64_t answers_measured = 0;  // of acknowledged groups that answer held-out prompts
  int64_t groups_expired = 0;    // the lease ran out before the group was in
  int64_t groups_refused = 0;    // malformed or stale, says the learner
  int64_t groups_unscored = 0;   // without a reward for as long as a lease's time, or a conversation failed
  int64_t submit_retries = 0;
  int64_t completions = 0;
  int64_t completion_tokens = 0;
  int64_t continuation_tokens = 0;  // sampled for the answers' credit alone
  int64_t prompt_tokens = 0;
  int64_t weight_swaps = 0;
  // The engine had nothing to do, for want of
  double wait_lease_s = 0;         // prompts
  double wait_weights_s = 0;       // a first or newer version
  double wait_scoring_s = 0;       // room: finished groups are being scored and handed in
  double wait_disconnected_s = 0;  // a learner within reach
  double step_s = 0;               // in Engine::Step
  int open_groups = 0;
  int unfinished_completions = 0;  // leased and not yet sampled to the end
  int waiting_turns = 0;           // of those, the ones that wait for an environment's reply
  std::optional<PolicyVersion> version;
  SchedulerStats engine;
};

}  // namespace tactus
