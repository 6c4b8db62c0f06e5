// The learner of a simulation, and what must hold of it.
#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/learner/simulation/world.h"

namespace tactus {

void Simulation::StartLearner() {
  ++life_;
  auto learner = std::make_unique<Learner>(options_);
  const std::function<bool()> faults = std::exchange(disk_.fails, [] { return false; });  // a start tries again anyway
  std::unique_ptr<SubmissionLog> log = *SubmissionLog::Open(std::make_unique<SimStore>(&disk_), kSegmentBytes);
  std::set<uint64_t> found;
  const uint64_t segment = checkpoint_.has_value() ? checkpoint_->snapshot.log_segment : 0;
  (void)log->Replay(segment, MaxGroupBytes(kTestLimits), [&](absl::string_view bytes) {
    if (const auto group = DecodeGroup(bytes, kTestLimits); group.ok()) found.insert(group->lease_id);
  });
  learner->ingest = std::make_unique<Ingest>(
      Ingest::Options{
          .limits = kTestLimits,
          .log = std::move(log),
          .acknowledge = [this](const Submission& s, const absl::Status& status) { Acknowledge(s, status); }},
      &learner->mu, &learner->ledger, &learner->board);
  history_ = checkpoint_.has_value() ? checkpoint_->history : History();
  accepted_now_.clear();
  if (incarnation_ > 0) {
    const LedgerSnapshot snapshot = checkpoint_.has_value() ? checkpoint_->snapshot : LedgerSnapshot();
    std::vector<Prompt> prompts;
    for (const uint64_t id : snapshot.open_prompt_ids) prompts.push_back(MakePrompt(id));
    {
      absl::MutexLock lock(&learner->mu);
      const absl::Status restored = learner->ledger.Restore(snapshot, prompts, incarnation_);
      Expect(restored.ok(), absl::StrCat("a snapshot was not restored: ", restored.message()));
    }
    Expect(learner->ingest->Replay(snapshot.log_segment).ok(), "the log was not replayed");
    for (const ReadyGroup& ready : snapshot.ready) found.insert(ready.group.lease_id);
    CheckDurable(found);
    absl::MutexLock lock(&learner->mu);
    std::set<uint64_t> held;
    const LedgerSnapshot now = *learner->ledger.Snapshot();
    for (const ReadyGroup& ready : now.ready) held.insert(ready.group.lease_id);
    for (const uint64_t lease : found) {
      if (held.count(lease) == 0 && history_.trained_leases.count(lease) == 0) left_out_.insert(lease);
    }
    learner->next_prompt = now.next_prompt_id;
  }
  {
    absl::MutexLock lock(&learner->mu);
    learner->fetchable = learner->ledger.version();
  }
  disk_.fails = faults;
  learner_ = std::move(learner);
  Tell(absl::StrCat("the learner starts as ", incarnation_, " after step ", history_.steps));
  In(kTickMs, [this, life = life_] { Tick(life); });
}

void Simulation::CheckDurable(const std::set<uint64_t>& found) {
  for (const uint64_t lease : acknowledged_) {
    if (found.count(lease) > 0 || history_.trained_leases.count(lease) > 0 || left_out_.count(lease) > 0) continue;
    Expect(false, absl::StrCat("the acknowledged group of lease ", lease, " is lost"));
  }
}

void Simulation::CrashLearner() {
  if (learner_ == nullptr) return;
  Tell(absl::StrCat("the learner dies in step ", history_.steps + 1));
  ++crashes_;
  ++life_;
  ++incarnation_;
  learner_.reset();
  disk_.Crash([this](size_t bytes) { return Below(2) == 0 ? 0 : static_cast<size_t>(Below(bytes + 1)); });
  std::vector<uint64_t> open;
  for (const auto& [id, stream] : streams_) open.push_back(id);
  for (const uint64_t id : open) BreakStream(id);
  In(static_cast<int64_t>(500 + Below(5000)), [this] { StartLearner(); });
}

void Simulation::Tick(uint64_t life) {
  if (life != life_ || learner_ == nullptr) return;
  In(kTickMs, [this, life] { Tick(life); });
  if (Chance(2500)) return CrashLearner();
  {
    absl::MutexLock lock(&learner_->mu);
    std::vector<EndedLease> ended = learner_->ledger.Expire(Now());
    for (const std::string& id : learner_->actors.TakeForgotten(Now())) {
      for (EndedLease& lease : learner_->ledger.ReturnLeases(id, {})) ended.push_back(std::move(lease));
    }
    for (const EndedLease& lease : ended) {
      Tell(absl::StrCat("lease ", lease.lease_id, " of prompt ", lease.prompt_id, " to ", lease.actor_id, " ends",
                        lease.dropped ? ", and the prompt is dropped" : ""));
      Expect(accepted_now_.count(lease.lease_id) == 0, "a lease ended that was answered");
    }
    Fill();
    PumpLeases();
  }
  TryTrain();
  CheckBooks();
}

void Simulation::Receive(uint64_t id, wire::ActorMessage message) {
  Stream& stream = streams_.at(id);
  if (message.has_hello()) return OnHello(id, message.hello());
  if (stream.name.empty()) return Expect(false, "the first message is no hello");
  if (message.has_submit_chunk()) return OnChunk(id, std::move(*message.mutable_submit_chunk()));
  absl::MutexLock lock(&learner_->mu);
  if (message.has_heartbeat()) {
    const auto& working = message.heartbeat().working_lease_ids();
    const std::vector<uint64_t> ended =
        learner_->ledger.Renew(stream.name, std::vector<uint64_t>(working.begin(), working.end()), Now());
    if (ended.empty()) return;
    wire::LearnerMessage reply;
    reply.mutable_leases_ended()->mutable_lease_ids()->Add(ended.begin(), ended.end());
    Send(id, std::move(reply));
    return;
  }
  const wire::LeaseRequest& request = message.lease_request();
  const absl::Status added = learner_->actors.Add({.actor_id = stream.name,
                                                   .stream_id = id,
                                                   .request_id = request.request_id(),
                                                   .max_leases = static_cast<int>(request.max_leases()),
                                                   .held = FromWire(request.held()),
                                                   .deadline = Now() + absl::Seconds(request.timeout_s())});
  Expect(!absl::IsInvalidArgument(added), absl::StrCat("an honest actor is sent away: ", added.message()));
  if (added.ok()) ++learner_->asked[id];
  PumpLeases();
}

void Simulation::OnHello(uint64_t id, const wire::Hello& hello) {
  absl::MutexLock lock(&learner_->mu);
  streams_.at(id).name = hello.actor_id();
  if (const std::optional<uint64_t> old = learner_->actors.Attach(hello.actor_id(), id)) learner_->asked.erase(*old);
  learner_->actors.SetRelay(hello.actor_id(), hello.relay_address(), hello.zone());
  const std::vector<uint64_t> held(hello.held_lease_ids().begin(), hello.held_lease_ids().end());
  for (const EndedLease& lease : learner_->ledger.ReturnLeases(hello.actor_id(), held)) {
    Tell(absl::StrCat("lease ", lease.lease_id, " returns with the hello of ", hello.actor_id()));
  }
  wire::LearnerMessage message;
  *message.mutable_welcome()->mutable_latest() = ToWire(learner_->ledger.published());
  *message.mutable_welcome()->mutable_path() = PathOf(hello.actor_id());
  message.mutable_welcome()->set_submit_credits(kCredits);
  message.mutable_welcome()->set_max_group_bytes(MaxGroupBytes(kTestLimits));
  for (const uint64_t ended : learner_->ledger.Renew(hello.actor_id(), held, Now())) {
    message.mutable_welcome()->add_ended_lease_ids(ended);
  }
  Send(id, std::move(message));
  PumpLeases();
}

void Simulation::OnChunk(uint64_t id, wire::SubmitChunk chunk) {
  Stream& stream = streams_.at(id);
  stream.chunks.push_back(std::move(*chunk.mutable_data()));
  if (!chunk.last()) return;
  Submission submission{stream.name, id, chunk.sequence(), std::exchange(stream.chunks, {}), Now()};
  learner_->lease_of[{id, chunk.sequence()}] = DecodeGroup(submission.bytes(), kTestLimits)->lease_id;
  learner_->submissions.push_back(std::move(submission));
  if (std::exchange(learner_->processing, true)) return;
  const int64_t disk_ms = static_cast<int64_t>(Chance(30) ? Below(3000) : Below(20));
  In(disk_ms, [this, life = life_] { Process(life); });
}

void Simulation::Send(uint64_t id, wire::LearnerMessage message) {
  const auto found = streams_.find(id);
  if (found == streams_.end()) return;
  Stream& stream = found->second;
  stream.to_actor_ms = std::max(stream.to_actor_ms, now_ms_ + Delay());
  At(stream.to_actor_ms, [this, id, m = std::move(message)] {
    const auto still = streams_.find(id);
    if (still == streams_.end() || !still->second.up) return;
    Actor& actor = actors_[static_cast<size_t>(still->second.actor)];
    if (actor.stream != id) return;
    const absl::Status status = actor.session->Handle(m, Time());
    Expect(status.ok(), absl::StrCat("the learner broke the protocol: ", status.message()));
    PumpActor(still->second.actor);
  });
}

void Simulation::Process(uint64_t life) {
  if (life != life_ || learner_ == nullptr) return;
  learner_->processing = false;
  learner_->ingest->Process(std::exchange(learner_->submissions, {}));
  // Not everything that was acknowledged is heard.
  if (Chance(200)) return CrashLearner();
  {
    absl::MutexLock lock(&learner_->mu);
    PumpLeases();
  }
  TryTrain();
  CheckBooks();
}

void Simulation::Acknowledge(const Submission& submission, const absl::Status& status) {
  const uint64_t lease = learner_->lease_of.at({submission.stream_id, submission.sequence});
  Tell(absl::StrCat("lease ", lease, " of ", submission.actor_id, ": ", status.ok() ? "taken" : status.message()));
  if (status.ok()) {
    acknowledged_.insert(lease);
    accepted_now_.insert(lease);
  } else {
    Expect(!absl::IsNotFound(status) || accepted_now_.count(lease) == 0, "a group that was taken is called expired");
  }
  wire::LearnerMessage message;
  message.mutable_submit_reply()->set_sequence(submission.sequence);
  message.mutable_submit_reply()->set_code(static_cast<int32_t>(status.code()));
  Send(submission.stream_id, std::move(message));
  if (Chance(100) && streams_.count(submission.stream_id) > 0) BreakStream(submission.stream_id);
}

void Simulation::PumpLeases() {
  learner_->mu.AssertHeld();
  std::vector<LeaseRequest> put_off;
  while (std::optional<LeaseRequest> due =
             learner_->actors.TakeDue(learner_->ledger.PromptsWait(Now()), learner_->ledger.OldestLeasable(), Now())) {
    const auto leases = learner_->ledger.Lease(due->actor_id, due->max_leases, due->held, Now());
    if (absl::IsResourceExhausted(leases.status()) && due->deadline > Now()) {
      put_off.push_back(*std::move(due));
      continue;
    }
    wire::LearnerMessage message;
    wire::LeaseReply& reply = *message.mutable_lease_reply();
    reply.set_request_id(due->request_id);
    if (leases.ok()) {
      for (const PromptLease& lease : *leases) *reply.add_leases() = ToWire(lease);
      Tell(absl::StrCat(due->actor_id, " gets ", leases->size(), " leases from ", leases->front().lease_id, " on"));
    } else if (!absl::IsResourceExhausted(leases.status())) {
      reply.set_code(static_cast<int32_t>(leases.status().code()));
    }
    --learner_->asked[due->stream_id];
    Send(due->stream_id, std::move(message));
  }
  int asked = 0;
  for (const auto& [stream, requests] : learner_->asked) asked += requests;
  const bool served = !put_off.empty() || asked == 0 || learner_->ledger.View().waiting == 0;
  Expect(served, "a request waits beside a prompt that it could have");
  for (LeaseRequest& request : put_off) learner_->actors.Add(std::move(request)).IgnoreError();
}

// As the training loop does, but at any time: it is the ledger that bounds what is in the system.
void Simulation::Fill() {
  learner_->mu.AssertHeld();
  const int64_t end = target_steps_ * options_.prompts_per_step + learner_->ledger.counters().prompts_dropped;
  while (static_cast<int64_t>(learner_->next_prompt) < end) {
    if (!learner_->ledger.Add(MakePrompt(learner_->next_prompt)).ok()) return;
    ++learner_->next_prompt;
  }
}

void Simulation::TryTrain() {
  if (learner_->training || history_.steps >= target_steps_) return;
  std::vector<TrajectoryGroup>& step = learner_->step;
  {
    absl::MutexLock lock(&learner_->mu);
    if (step.empty()) ForeseeDrops(*learner_->ledger.Snapshot());
    const int wanted = options_.prompts_per_step - static_cast<int>(step.size());
    std::vector<TrajectoryGroup> portion = learner_->ledger.Take(wanted, in_portions_ ? 1 : wanted);
    std::ranges::move(portion, std::back_inserter(step));
    PumpLeases();
  }
  if (static_cast<int>(step.size()) < options_.prompts_per_step) return;
  learner_->training = true;
  CheckBatch(step);
  In(static_cast<int64_t>(100 + Below(3000)),
     [this, life = life_, groups = std::exchange(step, {})] { FinishStep(life, groups); });
}

// Of a restore's groups some may be too old by now, and those of prompts that are not added before the step ends are
// dropped then.
void Simulation::ForeseeDrops(const LedgerSnapshot& before) {
  early_.clear();
  for (const ReadyGroup& ready : before.ready) {
    if (ready.group.prompt_id >= learner_->next_prompt) early_[ready.group.lease_id] = ready.group.prompt_id;
    const uint64_t age = before.version.step - std::min(before.version.step, ready.version.step);
    if (age > static_cast<uint64_t>(options_.max_staleness_steps)) left_out_.insert(ready.group.lease_id);
  }
}

void Simulation::CheckBatch(const std::vector<TrajectoryGroup>& groups) {
  absl::MutexLock lock(&learner_->mu);
  const uint64_t step = learner_->ledger.version().step;
  std::string ids;
  for (const TrajectoryGroup& group : groups) {
    absl::StrAppend(&ids, " ", group.prompt_id);
    Expect(history_.trained_prompts.count(group.prompt_id) == 0, "a prompt is trained twice");
    for (const Completion& completion : group.completions) {
      const uint64_t age = step - std::min(step, completion.versions.front().version.step);
      Expect(age <= static_cast<uint64_t>(options_.max_staleness_steps), "a group is trained beyond its age");
    }
    if (options_.max_staleness_steps > 0) continue;
    Expect(group.prompt_id >= history_.next_in_order, "a synchronous step is out of order");
    history_.next_in_order = group.prompt_id + 1;
  }
  Tell(absl::StrCat("step ", history_.steps + 1, " takes prompts", ids));
}

void Simulation::FinishStep(uint64_t life, const std::vector<TrajectoryGroup>& groups) {
  if (life != life_ || learner_ == nullptr) return;
  PolicyVersion version;
  {
    absl::MutexLock lock(&learner_->mu);
    version = {learner_->ledger.version().incarnation, learner_->ledger.version().step + 1};
    for (const auto& [lease, prompt] : early_) {
      if (prompt >= learner_->next_prompt) left_out_.insert(lease);
    }
    Expect(learner_->ledger.SetTrained(version).ok(), "a version is refused");
    Expect(learner_->ledger.Release(static_cast<int>(groups.size())).ok(), "a release is refused");
    Fill();
  }
  for (const TrajectoryGroup& group : groups) {
    history_.trained_prompts.insert(group.prompt_id);
    history_.trained_leases.insert(group.lease_id);
  }
  ++history_.steps;
  learner_->training = false;
  In(static_cast<int64_t>(Below(Chance(5) ? 8000 : 300)), [this, life, version] { Announce(life, version); });
  if (history_.steps % checkpoint_every_ == 0) SaveCheckpoint();
  CheckBooks();
}

void Simulation::Announce(uint64_t life, PolicyVersion version) {
  if (life != life_ || learner_ == nullptr) return;
  absl::MutexLock lock(&learner_->mu);
  if (version <= learner_->ledger.published()) return;  // overtaken
  learner_->fetchable = version;
  Expect(learner_->ledger.SetVersion(version).ok(), "a published version is refused");
  for (const auto& [id, stream] : streams_) {
    if (stream.name.empty()) continue;
    wire::LearnerMessage message;
    *message.mutable_new_version()->mutable_version() = ToWire(version);
    *message.mutable_new_version()->mutable_path() = PathOf(stream.name);
    Send(id, std::move(message));
  }
  PumpLeases();
}

void Simulation::SaveCheckpoint() {
  absl::StatusOr<LedgerSnapshot> snapshot = learner_->ingest->Snapshot();
  if (!snapshot.ok()) return;  // the disk: the next step tries again
  const uint64_t segment = snapshot->log_segment;
  checkpoint_ = Checkpoint{*std::move(snapshot), history_, learner_->next_prompt};
  Tell(absl::StrCat("checkpoint of step ", history_.steps, ", log from segment ", segment));
  if (Below(4) > 0) (void)learner_->ingest->Truncate(segment);
}

void Simulation::CheckBooks() {
  if (learner_ == nullptr) return;
  absl::MutexLock lock(&learner_->mu);
  const LedgerView view = learner_->ledger.View();
  const LedgerCounters& counters = learner_->ledger.counters();
  const int held = view.waiting + view.leased + view.ready + view.taken;
  Expect(counters.Balanced(), "the books do not balance");
  Expect(held <= learner_->ledger.slots(), "more prompts are in the system than have slots");
  Expect(static_cast<int64_t>(learner_->next_prompt) == held + counters.trained + counters.prompts_dropped,
         "a prompt is lost");
  Expect(counters.trained == static_cast<int64_t>(history_.trained_prompts.size()),
         "the ledger trained something else");
  Expect(counters[DropReason::kStale] == 0 || incarnation_ > 0, "work was thrown away for its age");
}

}  // namespace tactus
