// How the actors of a simulation come by new weights: from each other by the learner's tree, or from the learner.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "learner/rollout/relay_tree.h"
#include "tests/learner/simulation/world.h"

namespace tactus {
namespace {

// As WeightRelay and WeightReceiver have them.
constexpr int64_t kBeginPatienceMs = 5'000, kSilenceMs = 3'000, kStallMs = 60'000;
constexpr int64_t kLookMs = 200;

}  // namespace

// The last fault is over, and what it brought about: who stands still for a minute, and who waits for them.
bool Simulation::Calm() const { return !poison_ && now_ms_ > faults_end_ms_ + kLongestStillMs + kStallMs; }

wire::WeightPath Simulation::PathOf(const std::string& actor_id) const {
  const RelayTree tree(fan_out_ > 0 ? learner_->actors.Relays() : std::vector<RelayPeer>(), fan_out_);
  wire::WeightPath path;
  path.set_manifest_sha256(std::string(32, 'x'));
  for (std::string& parent : tree.Parents(actor_id)) path.add_parents(std::move(parent));
  return path;
}

void Simulation::FetchWeights(int index) {
  Actor& actor = actors_[static_cast<size_t>(index)];
  if (actor.fetch.has_value() || actor.session->latest_version() <= actor.held) return;
  actor.fetch = Fetch{.path = actor.session->path(), .asked_ms = now_ms_};
  AskForWeights(index, actor.life);
}

// Whoever is next is looked at again until it gives or refuses.
void Simulation::AskForWeights(int index, uint64_t life) {
  Actor& actor = actors_[static_cast<size_t>(index)];
  if (actor.life != life || !actor.fetch.has_value()) return;
  Fetch& fetch = *actor.fetch;
  if (fetch.next == fetch.path.parents.size()) return FetchFromLearner(index, life);
  const auto parent = std::ranges::find_if(actors_, [&](const Actor& other) {
    return other.session != nullptr && other.address == fetch.path.parents[fetch.next];
  });
  if (parent == actors_.end()) return TryNext(index);  // its address is nobody's
  const int64_t waited = now_ms_ - fetch.asked_ms;
  const auto again = [this, index, life] { AskForWeights(index, life); };
  if (now_ms_ < parent->still_until_ms) {
    fetch.silent_ms += kLookMs;
    return fetch.silent_ms > kSilenceMs ? TryNext(index) : In(kLookMs, again);
  }
  fetch.silent_ms = 0;
  if (parent->held == fetch.path.version) {
    const int from = static_cast<int>(parent - actors_.begin());
    return In(static_cast<int64_t>(50 + Below(1500)), [this, index, life, from, alive = parent->life] {
      if (actors_[static_cast<size_t>(index)].life != life) return;
      if (actors_[static_cast<size_t>(from)].life != alive) return TryNext(index);
      TakeWeights(index, actors_[static_cast<size_t>(index)].fetch->path.version);
    });
  }
  const bool begun = parent->fetch.has_value() && parent->fetch->path.version >= fetch.path.version;
  if (parent->held > fetch.path.version || (!begun && waited > kBeginPatienceMs)) return TryNext(index);
  if (waited <= kStallMs) return In(kLookMs, again);
  Expect(!Calm(), absl::StrCat(actor.id, " waited in vain for weights of ", parent->id));
  TryNext(index);
}

void Simulation::TryNext(int index) {
  Actor& actor = actors_[static_cast<size_t>(index)];
  Fetch& fetch = *actor.fetch;
  Tell(absl::StrCat(actor.id, " gets no weights from ", fetch.path.parents[fetch.next]));
  ++fetch.next;
  if (actor.session->path().version != fetch.path.version) fetch = {.path = actor.session->path()};
  fetch.asked_ms = now_ms_;
  fetch.silent_ms = 0;
  In(Delay(), [this, index, life = actor.life] { AskForWeights(index, life); });
}

void Simulation::FetchFromLearner(int index, uint64_t life) {
  if (learner_ == nullptr || learner_->fetchable < actors_[static_cast<size_t>(index)].fetch->path.version) {
    return In(1000, [this, index, life] { AskForWeights(index, life); });
  }
  const PolicyVersion version = learner_->fetchable;
  if (Calm() && fan_out_ > 0) {
    Expect(++sent_[version] <= kZones, "the learner sends a version more often than once a zone");
  }
  In(static_cast<int64_t>(50 + Below(1500)), [this, index, life, version, of = life_] {
    if (actors_[static_cast<size_t>(index)].life != life) return;
    if (of == life_) return TakeWeights(index, version);
    In(1000, [this, index, life] { AskForWeights(index, life); });  // it died
  });
}

void Simulation::TakeWeights(int index, PolicyVersion version) {
  Actor& actor = actors_[static_cast<size_t>(index)];
  Tell(absl::StrCat(actor.id, " has the weights of step ", version.step));
  actor.held = version;
  actor.fetch.reset();
  actor.fetching = false;
}

}  // namespace tactus
