#include "learner/ledger/rollout_ledger.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/data/codec.h"

namespace tactus {
namespace {

// A lease id is {incarnation, counter}: one granted before a restart never names one granted after it.
constexpr int kLeaseCounterBits = 40;
constexpr size_t kMinAnsweredRemembered = 1024;

uint64_t Steps(PolicyVersion from, PolicyVersion to) { return to.step > from.step ? to.step - from.step : 0; }

PolicyVersion OldestSpan(const TrajectoryGroup& group) {
  PolicyVersion oldest = group.completions.front().versions.front().version;
  for (const Completion& completion : group.completions) {
    oldest = std::min(oldest, completion.versions.front().version);
  }
  return oldest;
}

PolicyVersion NewestSpan(const TrajectoryGroup& group) {
  PolicyVersion newest;
  for (const Completion& completion : group.completions) {
    newest = std::max(newest, completion.versions.back().version);
  }
  return newest;
}

template <typename T>
size_t BytesOf(const std::vector<T>& values) {
  return values.size() * sizeof(T);
}

size_t MemoryBytes(const TrajectoryGroup& group) {
  size_t bytes = BytesOf(group.prompt_token_ids) + BytesOf(group.completions);
  for (const Completion& completion : group.completions) {
    bytes += BytesOf(completion.token_ids) + BytesOf(completion.logprobs) + BytesOf(completion.entropy) +
             BytesOf(completion.credit) + BytesOf(completion.head_spans) + BytesOf(completion.versions);
    if (completion.rhythm.has_value()) bytes += BytesOf(completion.rhythm->waad) + BytesOf(completion.rhythm->fai);
  }
  return bytes;
}

}  // namespace

absl::string_view ReasonName(RejectReason reason) {
  constexpr absl::string_view kNames[kRejectReasons] = {"malformed", "duplicate", "expired"};
  return kNames[static_cast<size_t>(reason)];
}

absl::string_view ReasonName(DropReason reason) {
  constexpr absl::string_view kNames[kDropReasons] = {"stale", "rolled_back"};
  return kNames[static_cast<size_t>(reason)];
}

bool LedgerCounters::Balanced() const {
  int64_t all_rejected = 0, all_dropped = 0;
  for (const int64_t count : rejected) all_rejected += count;
  for (const int64_t count : dropped) all_dropped += count;
  return received == accepted + all_rejected && accepted == trained + queued + all_dropped;
}

RolloutLedger::RolloutLedger(const LedgerOptions& options)
    : options_(options), slots_((options.max_staleness_steps + 1) * options.prompts_per_step) {
  assert(options.prompts_per_step > 0 && options.completions_per_prompt > 0 && options.max_staleness_steps >= 0);
}

absl::Status RolloutLedger::Add(Prompt prompt) {
  if (prompt.id != next_prompt_id_) {
    return absl::InvalidArgumentError(
        absl::StrCat("prompt ", prompt.id, " cannot be added: the next id is ", next_prompt_id_));
  }
  if (entries_.size() >= static_cast<size_t>(slots_)) {
    return absl::ResourceExhaustedError(absl::StrCat("all ", slots_, " slots of the ledger are in use"));
  }
  Entry& entry = entries_[next_prompt_id_++];
  entry.prompt = std::move(prompt);
  Enter(entry, State::kWaiting);
  if (auto node = not_yet_added_.extract(entry.prompt.id); !node.empty()) {
    --counters_.queued;
    if (node.mapped().prompt_token_ids == entry.prompt.token_ids) {
      const PolicyVersion version = OldestSpan(node.mapped());
      MakeReady(entry, std::move(node.mapped()), version);
    } else {
      ++counters_[DropReason::kRolledBack];
    }
  }
  return absl::OkStatus();
}

int64_t RolloutLedger::RoomFor(uint64_t held) const {
  const auto max_steps = static_cast<uint64_t>(options_.max_staleness_steps);
  std::vector<int64_t> open(max_steps + 1, 0);  // by steps behind, what is older with the oldest
  int64_t training = 0;
  for (const auto& [id, entry] : entries_) {
    if (entry.state == State::kLeased || entry.state == State::kReady) {
      ++open[std::min(Steps(entry.version, version_), max_steps)];
    } else if (entry.state == State::kTaken && taken_at_ == version_.step) {
      ++training;
    }
  }
  int64_t as_old = training, room = slots_;
  for (uint64_t behind = max_steps + 1; behind-- > 0;) {
    as_old += open[behind];
    if (behind > version_.step - std::min(held, version_.step)) continue;
    const auto in_time = static_cast<int64_t>(max_steps - behind + 1) * options_.prompts_per_step;
    room = std::min(room, in_time - as_old);
  }
  return room;
}

PolicyVersion RolloutLedger::OldestLeasable() const {
  const uint64_t lag = options_.max_staleness_steps > 1 ? static_cast<uint64_t>(options_.max_staleness_steps) - 1 : 0;
  uint64_t step = version_.step - std::min(version_.step, lag);
  while (step < version_.step && RoomFor(step) <= 0) ++step;  // for the newest there is room while a prompt waits
  return {version_.incarnation, step};
}

absl::StatusOr<std::vector<PromptLease>> RolloutLedger::Lease(const std::string& actor_id, int max_leases,
                                                              PolicyVersion held, absl::Duration now) {
  if (max_leases < 1) return absl::InvalidArgumentError(absl::StrCat("max_leases is ", max_leases, "; expected >= 1"));
  if (held.incarnation != version_.incarnation || held < OldestLeasable()) {
    return absl::FailedPreconditionError(absl::StrCat("weights ", VersionName(held), " of ", actor_id,
                                                      " are too old: prompts are leased for ",
                                                      VersionName(OldestLeasable()), " or newer"));
  }
  const int64_t most = held < version_ ? std::min<int64_t>(max_leases, RoomFor(held.step)) : max_leases;
  std::vector<PromptLease> granted;
  while (!waiting_.empty() && static_cast<int64_t>(granted.size()) < most) {
    const uint64_t id = *waiting_.begin();
    Entry& entry = entries_.at(id);
    const uint64_t lease_id = uint64_t{version_.incarnation} << kLeaseCounterBits | next_lease_++;
    Enter(entry, State::kLeased);
    entry.lease = {lease_id, id, actor_id, now};
    entry.deadline = now + options_.lease_timeout;
    entry.version = std::min(held, version_);
    leases_[lease_id] = id;
    granted.push_back({lease_id, entry.prompt, options_.completions_per_prompt, options_.seed,
                       absl::ToDoubleSeconds(options_.lease_timeout), version_});
  }
  if (granted.empty()) return absl::ResourceExhaustedError("no prompt is waiting");
  counters_.leases_granted += static_cast<int64_t>(granted.size());
  return granted;
}

RolloutLedger::Verdict RolloutLedger::Judge(const TrajectoryGroup& group) const {
  if (answered_.count(group.lease_id) > 0) return {absl::OkStatus(), RejectReason::kDuplicate};
  const auto lease = leases_.find(group.lease_id);
  if (lease == leases_.end()) {
    return {absl::NotFoundError(absl::StrCat("lease ", group.lease_id, " of prompt ", group.prompt_id, " has expired")),
            RejectReason::kExpired};
  }
  const Entry& entry = entries_.at(lease->second);
  const auto malformed = [&](absl::string_view what) -> Verdict {
    return {absl::InvalidArgumentError(absl::StrCat("the group for lease ", group.lease_id, " ", what)),
            RejectReason::kMalformed};
  };
  if (group.actor_id != entry.lease.actor_id) return malformed("comes from another actor than the lease's");
  if (group.prompt_id != entry.prompt.id || group.prompt_token_ids != entry.prompt.token_ids) {
    return malformed("answers another prompt than the leased one");
  }
  if (group.completions.size() != static_cast<size_t>(options_.completions_per_prompt)) {
    return malformed(
        absl::StrCat("has ", group.completions.size(), " completions; expected ", options_.completions_per_prompt));
  }
  for (const Completion& completion : group.completions) {
    if (completion.versions.empty()) return malformed("has a completion without a version");
    for (const VersionSpan& span : completion.versions) {
      if (span.version.incarnation != version_.incarnation) {
        return malformed(absl::StrCat("was sampled by weights ", VersionName(span.version), " of another incarnation"));
      }
      if (span.version > version_) {
        return malformed(absl::StrCat("was sampled by weights ", VersionName(span.version),
                                      ", newer than any: ", VersionName(version_)));
      }
    }
  }
  return {absl::OkStatus(), std::nullopt};
}

absl::Status RolloutLedger::Submit(TrajectoryGroup group) {
  Verdict verdict = Judge(group);
  ++counters_.received;
  if (verdict.rejected.has_value()) {
    ++counters_[*verdict.rejected];
    return verdict.status;
  }
  ++counters_.accepted;
  const auto lease = leases_.find(group.lease_id);
  Entry& entry = entries_.at(lease->second);
  leases_.erase(lease);
  RememberAnswered(group.lease_id);
  const PolicyVersion version = std::min(entry.version, OldestSpan(group));
  MakeReady(entry, std::move(group), version);
  return absl::OkStatus();
}

void RolloutLedger::CountMalformed() {
  ++counters_.received;
  ++counters_[RejectReason::kMalformed];
}

void RolloutLedger::MakeReady(Entry& entry, TrajectoryGroup group, PolicyVersion version) {
  Enter(entry, State::kReady);
  entry.version = version;
  entry.group = std::move(group);
  ++counters_.queued;
}

void RolloutLedger::RememberAnswered(uint64_t lease_id) {
  answered_.insert(lease_id);
  answered_order_.push_back(lease_id);
  if (answered_order_.size() > std::max(kMinAnsweredRemembered, 4 * static_cast<size_t>(slots_))) {
    answered_.erase(answered_order_.front());
    answered_order_.pop_front();
  }
}

void RolloutLedger::Enter(Entry& entry, State state) {
  if (entry.state == State::kWaiting) waiting_.erase(entry.prompt.id);
  if (state == State::kWaiting) waiting_.insert(entry.prompt.id);
  entry.state = state;
}

void RolloutLedger::Wait(Entry& entry) {
  if (entry.state == State::kLeased) leases_.erase(entry.lease.lease_id);
  Enter(entry, State::kWaiting);
  entry.group = {};
}

void RolloutLedger::DropStale() {
  for (auto& [id, entry] : entries_) {
    if (entry.state != State::kReady) continue;
    if (Steps(entry.version, version_) <= static_cast<uint64_t>(options_.max_staleness_steps)) continue;
    Wait(entry);
    --counters_.queued;
    ++counters_[DropReason::kStale];
  }
}

std::vector<RolloutLedger::Entry*> RolloutLedger::ChooseInOrder(size_t count) {
  std::vector<Entry*> chosen;
  for (auto& [id, entry] : entries_) {
    if (entry.state == State::kTaken) continue;
    if (entry.state != State::kReady) return {};
    chosen.push_back(&entry);
    if (chosen.size() == count) return chosen;
  }
  return {};
}

std::vector<RolloutLedger::Entry*> RolloutLedger::ChooseOldestVersion(size_t count) {
  std::vector<Entry*> ready;
  std::map<uint64_t, int64_t> leased;  // by the step of their weights
  for (auto& [id, entry] : entries_) {
    if (entry.state == State::kReady) ready.push_back(&entry);
    if (entry.state == State::kLeased) ++leased[entry.version.step];
  }
  if (ready.size() < count) return {};
  std::stable_sort(ready.begin(), ready.end(),
                   [](const Entry* a, const Entry* b) { return a->version.step < b->version.step; });
  ready.resize(count);
  // Leased groups that could not all be trained by later steps. Waiting for them costs a moment; not waiting would
  // throw away long answers more often than short ones, and so bias what is learned.
  int64_t later = 0;
  for (const auto& [step, groups] : leased) {
    const uint64_t last = step + static_cast<uint64_t>(options_.max_staleness_steps);
    if (last < version_.step) continue;  // lost whatever is done
    later += groups;
    const bool all_as_old = ready.back()->version.step <= step;  // then there is nothing younger to put off
    const auto in_time = static_cast<int64_t>(last - version_.step) * options_.prompts_per_step;
    if (!all_as_old && later > in_time) return {};
  }
  std::sort(ready.begin(), ready.end(), [](const Entry* a, const Entry* b) { return a->prompt.id < b->prompt.id; });
  return ready;
}

std::vector<TrajectoryGroup> RolloutLedger::Take(int count) {
  assert(count >= 1 && count <= slots_);
  DropStale();
  const auto wanted = static_cast<size_t>(count);
  std::vector<TrajectoryGroup> groups;
  for (Entry* entry : options_.max_staleness_steps == 0 ? ChooseInOrder(wanted) : ChooseOldestVersion(wanted)) {
    Enter(*entry, State::kTaken);
    taken_.push_back(entry->prompt.id);
    taken_at_ = version_.step;
    groups.push_back(std::move(entry->group));
  }
  return groups;
}

absl::Status RolloutLedger::Release(int count) {
  if (count < 0 || static_cast<size_t>(count) > taken_.size()) {
    return absl::FailedPreconditionError(
        absl::StrCat("cannot release ", count, " groups: ", taken_.size(), " are taken"));
  }
  for (int i = 0; i < count; ++i) {
    entries_.erase(taken_.front());
    taken_.pop_front();
  }
  counters_.trained += count;
  counters_.queued -= count;
  return absl::OkStatus();
}

std::vector<LeaseInfo> RolloutLedger::Expire(absl::Duration now) {
  std::vector<LeaseInfo> expired;
  for (auto& [id, entry] : entries_) {
    if (entry.state != State::kLeased || entry.deadline > now) continue;
    expired.push_back(entry.lease);
    Wait(entry);
  }
  counters_.leases_expired += static_cast<int64_t>(expired.size());
  return expired;
}

std::vector<LeaseInfo> RolloutLedger::ReturnLeases(const std::string& actor_id, std::span<const uint64_t> keep) {
  std::vector<LeaseInfo> returned;
  for (auto& [id, entry] : entries_) {
    if (entry.state != State::kLeased || entry.lease.actor_id != actor_id) continue;
    if (std::find(keep.begin(), keep.end(), entry.lease.lease_id) != keep.end()) continue;
    returned.push_back(entry.lease);
    Wait(entry);
  }
  counters_.leases_returned += static_cast<int64_t>(returned.size());
  return returned;
}

absl::Status RolloutLedger::SetVersion(PolicyVersion version) {
  if (version <= version_) {
    return absl::InvalidArgumentError(
        absl::StrCat("version ", VersionName(version), " is not newer than ", VersionName(version_)));
  }
  version_ = version;
  // What was replayed for prompts that have not been added by now was for another order of prompts.
  counters_.queued -= static_cast<int64_t>(not_yet_added_.size());
  counters_[DropReason::kRolledBack] += static_cast<int64_t>(not_yet_added_.size());
  not_yet_added_.clear();
  return absl::OkStatus();
}

absl::StatusOr<LedgerSnapshot> RolloutLedger::Snapshot() const {
  if (!taken_.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("no snapshot while ", taken_.size(), " groups are taken: release them first"));
  }
  LedgerSnapshot snapshot;
  snapshot.version = version_;
  snapshot.next_prompt_id = next_prompt_id_;
  snapshot.counters = counters_;
  for (const auto& [id, entry] : entries_) {
    snapshot.open_prompt_ids.push_back(id);
    if (entry.state == State::kReady) snapshot.ready.push_back({entry.group, entry.version});
  }
  for (const auto& [id, group] : not_yet_added_) snapshot.ready.push_back({group, OldestSpan(group)});
  return snapshot;
}

absl::Status RolloutLedger::Restore(const LedgerSnapshot& snapshot, std::vector<Prompt> prompts, uint32_t incarnation) {
  if (!entries_.empty() || counters_ != LedgerCounters{} || next_prompt_id_ != 0) {
    return absl::InvalidArgumentError("cannot restore into a ledger that was used");
  }
  if (incarnation <= snapshot.version.incarnation) {
    return absl::InvalidArgumentError(absl::StrCat("incarnation ", incarnation, " was used before: the snapshot is of ",
                                                   VersionName(snapshot.version)));
  }
  if (prompts.size() != snapshot.open_prompt_ids.size() || prompts.size() > static_cast<size_t>(slots_)) {
    return absl::InvalidArgumentError(absl::StrCat("the snapshot has ", snapshot.open_prompt_ids.size(),
                                                   " open prompts, ", prompts.size(), " were given and ", slots_,
                                                   " fit"));
  }
  std::map<uint64_t, Entry> entries;
  for (size_t i = 0; i < prompts.size(); ++i) {
    const uint64_t id = snapshot.open_prompt_ids[i];
    if (prompts[i].id != id || id >= snapshot.next_prompt_id || entries.count(id) > 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("open prompt ", i, " of the snapshot has id ", id, " and the one given for it ", prompts[i].id));
    }
    entries[id].prompt = std::move(prompts[i]);
  }
  std::map<uint64_t, TrajectoryGroup> not_yet_added;
  for (const ReadyGroup& ready : snapshot.ready) {
    const auto entry = entries.find(ready.group.prompt_id);
    if (ready.group.prompt_id >= snapshot.next_prompt_id && not_yet_added.size() < static_cast<size_t>(slots_)) {
      not_yet_added[ready.group.prompt_id] = ready.group;
    } else if (entry == entries.end() || entry->second.state == State::kReady ||
               entry->second.prompt.token_ids != ready.group.prompt_token_ids) {
      return absl::InvalidArgumentError(
          absl::StrCat("the snapshot's group for prompt ", ready.group.prompt_id, " does not answer an open prompt"));
    } else {
      entry->second.state = State::kReady;
      entry->second.group = ready.group;
      entry->second.version = ready.version;
    }
  }
  if (!snapshot.counters.Balanced() || snapshot.counters.queued != static_cast<int64_t>(snapshot.ready.size())) {
    return absl::InvalidArgumentError("the snapshot's counters do not add up");
  }
  version_ = {incarnation, snapshot.version.step};
  next_prompt_id_ = snapshot.next_prompt_id;
  entries_ = std::move(entries);
  for (const auto& [id, entry] : entries_) {
    if (entry.state == State::kWaiting) waiting_.insert(id);
  }
  not_yet_added_ = std::move(not_yet_added);
  counters_ = snapshot.counters;
  return absl::OkStatus();
}

void RolloutLedger::Replay(TrajectoryGroup group) {
  ++counters_.received;
  const auto entry = entries_.find(group.prompt_id);
  const bool open = entry != entries_.end() && entry->second.state == State::kWaiting;
  const bool ahead = group.prompt_id >= next_prompt_id_ && not_yet_added_.count(group.prompt_id) == 0;
  const PolicyVersion oldest = OldestSpan(group), newest = NewestSpan(group);
  const bool known_weights = newest.incarnation < version_.incarnation && newest.step <= version_.step;
  const bool recent = Steps(oldest, version_) <= static_cast<uint64_t>(options_.max_staleness_steps);
  if (!open && !ahead && known_weights) {
    ++counters_[RejectReason::kDuplicate];  // answered by an earlier record, or already trained in this history
    return;
  }
  ++counters_.accepted;
  const bool complete = group.completions.size() == static_cast<size_t>(options_.completions_per_prompt);
  const bool usable = known_weights && recent && complete;
  if (usable && open && entry->second.prompt.token_ids == group.prompt_token_ids) {
    MakeReady(entry->second, std::move(group), oldest);
  } else if (usable && ahead && not_yet_added_.size() < static_cast<size_t>(slots_)) {
    ++counters_.queued;
    not_yet_added_.emplace(group.prompt_id, std::move(group));
  } else {
    ++counters_[DropReason::kRolledBack];
  }
}

LedgerView RolloutLedger::View() const {
  LedgerView view;
  view.free_slots = slots_ - static_cast<int>(entries_.size());
  for (const auto& [id, entry] : entries_) {
    view.waiting += entry.state == State::kWaiting;
    view.ready += entry.state == State::kReady;
    view.taken += entry.state == State::kTaken;
    if (entry.state != State::kLeased) continue;
    ++view.leased;
    if (!view.oldest_lease.has_value() || entry.lease.leased_at < view.oldest_lease->leased_at) {
      view.oldest_lease = entry.lease;
    }
  }
  return view;
}

int64_t RolloutLedger::ReadyBytes() const {
  size_t bytes = 0;
  for (const auto& [id, entry] : entries_) {
    if (entry.state == State::kReady) bytes += MemoryBytes(entry.group);
  }
  for (const auto& [id, group] : not_yet_added_) bytes += MemoryBytes(group);
  return static_cast<int64_t>(bytes);
}

int RolloutLedger::LeasesOf(const std::string& actor_id) const {
  return static_cast<int>(std::count_if(entries_.begin(), entries_.end(), [&](const auto& item) {
    return item.second.state == State::kLeased && item.second.lease.actor_id == actor_id;
  }));
}

}  // namespace tactus
