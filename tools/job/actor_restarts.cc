#include "tools/job/actor_restarts.h"

#include <algorithm>

namespace tactus {
namespace {

constexpr absl::Duration kLongLife = absl::Minutes(1);

}  // namespace

absl::Duration ActorRestarts::Died(size_t index, absl::Duration lived) {
  Actor& actor = actors_[index];
  ++total_;
  ++actor.deaths;
  if (lived >= kLongLife) actor.pauses.Reset();
  return actor.pauses.Next();
}

void ActorRestarts::Stepped() {
  for (Actor& actor : actors_) actor.deaths = 0;
}

bool ActorRestarts::Hopeless() const {
  return std::ranges::all_of(actors_, [](const Actor& actor) { return actor.deaths > kMaxDeaths; });
}

}  // namespace tactus
