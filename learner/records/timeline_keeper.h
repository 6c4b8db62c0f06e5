// Who worked when in the step under way, as rank 0's loop tells it, until the step is recorded. Owned by one thread; no
// I/O. Bounded: a step has at most kMaxSpans spans of the learner, and 1 + its groups an actor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/time/time.h"
#include "common/data/types.h"
#include "common/metrics/timeline.h"

namespace tactus {

class TimelineKeeper {
 public:
  static constexpr size_t kMaxSpans = 512;

  // The first step begins. All times are MonotonicNow's.
  explicit TimelineKeeper(absl::Time now) : origin_(now), begin_(now) {}

  // The learner did this. Told in order; what follows at once on the same work is one span with it.
  void Add(LearnerWork work, absl::Time from, absl::Time to);
  // The step that was trained on these groups has ended; the next begins.
  StepTimeline EndStep(int64_t step, PolicyVersion version, std::span<const TrajectoryGroup> groups, absl::Time now);

 private:
  const absl::Time origin_;
  absl::Time begin_;  // of the step
  std::vector<LearnerSpan> spans_;
};

}  // namespace tactus
