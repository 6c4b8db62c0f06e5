// What the ledger reads from a group. Pure functions.
#pragma once

#include <algorithm>
#include <cstdint>

#include "common/data/types.h"
#include "learner/ledger/ledger_types.h"

namespace tactus {

// Optimizer steps from one version to a later one; 0 where it is not later.
inline uint64_t Steps(PolicyVersion from, PolicyVersion to) { return to.step > from.step ? to.step - from.step : 0; }

// Of a group whose completions have a version each.
inline PolicyVersion OldestSpan(const TrajectoryGroup& group) {
  PolicyVersion oldest = group.completions.front().versions.front().version;
  for (const Completion& completion : group.completions) {
    oldest = std::min(oldest, completion.versions.front().version);
  }
  return oldest;
}

inline PolicyVersion NewestSpan(const TrajectoryGroup& group) {
  PolicyVersion newest;
  for (const Completion& completion : group.completions) {
    newest = std::max(newest, completion.versions.back().version);
  }
  return newest;
}

inline PromptOutcome OutcomeOf(const TrajectoryGroup& group) {
  PromptOutcome outcome{.prompt_id = group.prompt_id, .answers = static_cast<int>(group.completions.size())};
  for (const Completion& completion : group.completions) outcome.right += completion.reward.correct > 0 ? 1 : 0;
  return outcome;
}

}  // namespace tactus
