#include "learner/records/timeline_keeper.h"

#include <algorithm>
#include <map>
#include <utility>

#include "common/data/codec.h"

namespace tactus {
namespace {

constexpr double kJoinedS = 1e-3;  // shorter pauses are no pauses

// What overlaps or follows at once becomes one.
std::vector<TimeSpan> Joined(std::vector<TimeSpan> spans) {
  std::ranges::sort(spans, {}, &TimeSpan::begin_s);
  std::vector<TimeSpan> joined;
  for (const TimeSpan& span : spans) {
    if (joined.empty() || span.begin_s > joined.back().end_s + kJoinedS) {
      joined.push_back(span);
    } else {
      joined.back().end_s = std::max(joined.back().end_s, span.end_s);
    }
  }
  return joined;
}

std::vector<ActorTimeline> ActorsOf(std::span<const TrajectoryGroup> groups, double begin_s) {
  std::map<std::string, ActorTimeline> actors;
  for (const TrajectoryGroup& group : groups) {
    if (group.arrived_s == 0) continue;  // logged by an earlier process
    ActorTimeline& actor = actors[group.actor_id];
    const double arrived = group.arrived_s - begin_s, sampled = arrived - group.times.handing_in_s;
    actor.arrived_s.push_back(arrived);
    if (group.times.sampling_s > 0) actor.sampling.push_back({sampled - group.times.sampling_s, sampled});
  }
  std::vector<ActorTimeline> listed;
  for (auto& [name, actor] : actors) {
    actor.actor = name;
    std::ranges::sort(actor.arrived_s);
    actor.sampling = Joined(std::move(actor.sampling));
    listed.push_back(std::move(actor));
  }
  return listed;
}

}  // namespace

void TimelineKeeper::Add(LearnerWork work, absl::Time from, absl::Time to) {
  const TimeSpan when{absl::ToDoubleSeconds(from - begin_), absl::ToDoubleSeconds(to - begin_)};
  const bool follows =
      !spans_.empty() && spans_.back().work == work && when.begin_s <= spans_.back().when.end_s + kJoinedS;
  if (follows) {
    spans_.back().when.end_s = when.end_s;
  } else if (spans_.size() < kMaxSpans) {
    spans_.push_back({work, when});
  }
}

StepTimeline TimelineKeeper::EndStep(int64_t step, PolicyVersion version, std::span<const TrajectoryGroup> groups,
                                     absl::Time now) {
  StepTimeline timeline{.step = step,
                        .version = VersionName(version),
                        .start_s = absl::ToDoubleSeconds(begin_ - origin_),
                        .length_s = absl::ToDoubleSeconds(now - begin_),
                        .learner = std::exchange(spans_, {}),
                        .actors = ActorsOf(groups, absl::ToDoubleSeconds(begin_ - absl::UnixEpoch()))};
  begin_ = now;
  return timeline;
}

}  // namespace tactus
