// Who worked when in a learner step: a line of timeline.jsonl, which `tactus report` draws. Times are seconds of the
// learner's monotonic clock. What an actor did is placed by when its group came and by the lengths that it told, since
// its clock is not the learner's: the time on the network counts as the actor's. Value types; the functions are
// thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tactus {

// What learner rank 0 did.
enum class LearnerWork { kRecords, kCheckpoint, kWait, kPasses, kExchange, kOptimizer, kPublish };
const char* LearnerWorkName(LearnerWork work);  // "records", …

struct TimeSpan {
  double begin_s = 0, end_s = 0;  // since the step began
  bool operator==(const TimeSpan&) const = default;
};

struct LearnerSpan {
  LearnerWork work = LearnerWork::kWait;
  TimeSpan when;
  bool operator==(const LearnerSpan&) const = default;
};

// Of the groups that the step was trained on. With S >= 1 they may have been sampled before the step began: negative.
struct ActorTimeline {
  std::string actor;
  std::vector<TimeSpan> sampling;  // ascending and apart; none where the actor told no lengths
  std::vector<double> arrived_s;   // of its groups, ascending
  bool operator==(const ActorTimeline&) const = default;
};

struct StepTimeline {
  int64_t step = 0;
  std::string version;  // of the weights after the step
  double start_s = 0;   // since this learner process serves
  double length_s = 0;
  std::vector<LearnerSpan> learner;   // ascending
  std::vector<ActorTimeline> actors;  // by name
  bool operator==(const StepTimeline&) const = default;
};

// One line without the newline, times to a tenth of a millisecond.
std::string StepTimelineToJson(const StepTimeline& timeline);

// InvalidArgument: no JSON object, no step, or a value of the wrong type. Unknown keys and kinds of work are passed
// over.
absl::StatusOr<StepTimeline> StepTimelineFromJson(absl::string_view line);

// The last `count` steps of the newest learner process in a file, in order. A run without the file has none; damaged
// lines are left out, with a warning in the log.
absl::StatusOr<std::vector<StepTimeline>> ReadTimeline(const std::string& path, size_t count);

}  // namespace tactus
