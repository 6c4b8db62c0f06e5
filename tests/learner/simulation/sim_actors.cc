// The actors of a simulation, and the network between them and the learner.
#include "absl/strings/str_cat.h"
#include "tests/learner/simulation/world.h"

namespace tactus {

void Simulation::StartActor(int index) {
  Actor& actor = actors_[static_cast<size_t>(index)];
  const uint64_t life = actor.life + 1;
  actor = Actor();
  actor.life = life;
  actor.id = absl::StrCat("a", index);
  GrpcRolloutPortOptions options;
  options.actor_id = actor.id;
  options.relay_address = actor.address = absl::StrCat(actor.id, ".", life, ":1");
  options.zone = absl::StrCat("z", index % kZones);
  options.limits = kTestLimits;
  actor.session = std::make_unique<RolloutSession>(options);
  Tell(absl::StrCat(actor.id, " starts"));
  AttachActor(index, life);
  In(kBeatMs, [this, index, life] { ActorBeat(index, life); });
}

void Simulation::KillActor(int index) {
  Actor& actor = actors_[static_cast<size_t>(index)];
  Tell(absl::StrCat(actor.id, " dies with ", actor.work.size(), " leases"));
  if (actor.stream != 0) BreakStream(actor.stream);
  ++actor.life;
  actor.session.reset();
  In(static_cast<int64_t>(100 + Below(8000)), [this, index] { StartActor(index); });
}

void Simulation::AttachActor(int index, uint64_t life) {
  Actor& actor = actors_[static_cast<size_t>(index)];
  if (actor.life != life) return;
  if (learner_ == nullptr) {
    In(static_cast<int64_t>(500 + Below(2000)), [this, index, life] { AttachActor(index, life); });
    return;
  }
  actor.stream = next_stream_++;
  streams_[actor.stream].actor = index;
  actor.session->Attach();
  PumpActor(index);
}

// The actor's end is gone at once; the learner hears of it sooner or later.
void Simulation::BreakStream(uint64_t id) {
  Stream& stream = streams_.at(id);
  if (!stream.up) return;
  stream.up = false;
  const int index = stream.actor;
  Actor& actor = actors_[static_cast<size_t>(index)];
  if (actor.stream == id && actor.session != nullptr) {
    Tell(absl::StrCat(actor.id, " loses stream ", id));
    actor.stream = 0;
    actor.session->Detach();
    In(static_cast<int64_t>(500 + Below(1000)), [this, index, life = actor.life] { AttachActor(index, life); });
  }
  In(static_cast<int64_t>(Chance(4) ? Below(30'000) : Below(50)), [this, id, life = life_] {
    const auto found = streams_.find(id);
    if (found == streams_.end()) return;
    if (learner_ != nullptr && life == life_ && !found->second.name.empty()) {
      absl::MutexLock lock(&learner_->mu);
      learner_->actors.Detach(found->second.name, id, Now());
      learner_->asked.erase(id);
    }
    streams_.erase(found);
  });
}

void Simulation::PumpActor(int index) {
  Actor& actor = actors_[static_cast<size_t>(index)];
  if (actor.stream == 0) return;
  const uint64_t id = actor.stream;
  Stream& stream = streams_.at(id);
  while (std::optional<wire::ActorMessage> message = actor.session->Next(Time())) {
    stream.to_learner_ms = std::max(stream.to_learner_ms, now_ms_ + Delay());
    At(stream.to_learner_ms, [this, id, life = life_, m = *std::move(message)] {
      if (life == life_ && learner_ != nullptr && streams_.count(id) > 0 && streams_.at(id).up) Receive(id, m);
    });
  }
  if (Chance(150)) BreakStream(id);
}

void Simulation::ActorBeat(int index, uint64_t life) {
  Actor& actor = actors_[static_cast<size_t>(index)];
  if (actor.life != life) return;
  In(kBeatMs, [this, index, life] { ActorBeat(index, life); });
  if (now_ms_ >= actor.next_beat_ms) {  // the stream's own thread goes on when the rest stands still
    actor.session->RequestHeartbeat();
    actor.next_beat_ms = now_ms_ + absl::ToInt64Milliseconds(actor.session->HeartbeatInterval());
  }
  if (Chance(400)) actor.still_until_ms = now_ms_ + static_cast<int64_t>(Below(kLongestStillMs));
  if (now_ms_ >= actor.still_until_ms) {
    const bool fatal = poison_ && std::ranges::any_of(actor.work, [&](const auto& item) {
                         return item.second.lease.prompt.id % 11 == 7 && item.second.done_ms <= now_ms_;
                       });
    if (fatal || Chance(600)) return KillActor(index);
    WorkOn(actor);
    FinishCalls(actor);
    AskForLeases(actor);
    FetchWeights(index);
  }
  PumpActor(index);
}

void Simulation::WorkOn(Actor& actor) {
  std::vector<uint64_t> working;
  for (const auto& [id, work] : actor.work) working.push_back(id);
  for (const auto& [call, group] : actor.submits) working.push_back(group.lease_id);
  for (const uint64_t id : actor.session->Renew(working, Time())) actor.work.erase(id);
  for (auto it = actor.work.begin(); it != actor.work.end();) {
    if (it->second.done_ms > now_ms_) {
      ++it;
      continue;
    }
    TrajectoryGroup group = MakeGroup(it->second.lease, actor.id, it->second.version);
    const uint64_t call = actor.session->AddSubmit(EncodeGroup(group), it->first);
    Tell(absl::StrCat(actor.id, " hands in prompt ", group.prompt_id, " of lease ", it->first));
    actor.submits.emplace(call, std::move(group));
    it = actor.work.erase(it);
  }
}

void Simulation::FinishCalls(Actor& actor) {
  for (auto it = actor.submits.begin(); it != actor.submits.end();) {
    const RolloutSession::SubmitCall& call = actor.session->submit(it->first);
    if (!call.done) {
      ++it;
      continue;
    }
    const absl::Status status = call.status;
    TrajectoryGroup group = std::move(it->second);
    actor.session->ForgetSubmit(it->first);
    it = actor.submits.erase(it);
    if (absl::IsUnavailable(status)) {
      actor.submits.emplace(actor.session->AddSubmit(EncodeGroup(group), group.lease_id), std::move(group));
    } else {
      Expect(status.ok() || absl::IsNotFound(status), absl::StrCat("an honest group was refused: ", status.message()));
    }
  }
  if (!actor.lease_call.has_value()) return;
  const RolloutSession::LeaseCall& call = actor.session->lease(*actor.lease_call);
  if (!call.done && now_ms_ < actor.lease_deadline_ms) return;
  std::vector<PromptLease> leases = call.leases;
  if (call.done && absl::IsFailedPrecondition(call.status)) actor.fetching = call.held == *actor.held;
  actor.session->ForgetLease(*actor.lease_call);
  actor.lease_call.reset();
  for (PromptLease& lease : actor.session->TakeSpare(8, Time())) leases.push_back(std::move(lease));
  for (PromptLease& lease : leases) {
    // A long tail: some answers take many times as long as a lease lasts.
    const int64_t takes = static_cast<int64_t>(Below(6) == 0 ? Below(60'000) : Below(3'000));
    const uint64_t id = lease.lease_id;
    actor.work[id] = {std::move(lease), *actor.held, now_ms_ + takes};
  }
}

void Simulation::AskForLeases(Actor& actor) {
  if (!actor.held.has_value() || actor.lease_call.has_value() || actor.work.size() >= 4 || actor.fetching) return;
  actor.lease_deadline_ms = now_ms_ + 2000;
  actor.lease_call = actor.session->AddLease(4 - static_cast<int>(actor.work.size()), *actor.held,
                                             absl::UnixEpoch() + absl::Milliseconds(actor.lease_deadline_ms));
}

}  // namespace tactus
