#include "learner/ledger/rollout_ledger.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/data/codec.h"
#include "learner/ledger/group_facts.h"

namespace tactus {
namespace {

// A lease id is {incarnation, counter}: one granted before a restart never names one granted after it.
constexpr int kLeaseCounterBits = 40;
constexpr size_t kMinAnsweredRemembered = 1024;

template <typename T>
size_t BytesOf(const std::vector<T>& values) {
  return values.size() * sizeof(T);
}

size_t MemoryBytes(const TrajectoryGroup& group) {
  size_t bytes = BytesOf(group.prompt_token_ids) + BytesOf(group.completions);
  for (const Completion& completion : group.completions) {
    bytes += BytesOf(completion.token_ids) + BytesOf(completion.logprobs) + BytesOf(completion.entropy) +
             BytesOf(completion.credit) + BytesOf(completion.head_spans) + BytesOf(completion.versions) +
             BytesOf(completion.turns);
    if (completion.rhythm.has_value()) bytes += BytesOf(completion.rhythm->waad) + BytesOf(completion.rhythm->fai);
  }
  return bytes;
}

}  // namespace

RolloutLedger::RolloutLedger(const LedgerOptions& options)
    : options_(options),
      slots_((options.max_staleness_steps + 1) * options.prompts_per_step),
      most_(slots_ + options.max_replaced_groups) {
  assert(options.max_replaced_groups >= 0);
  assert(options.prompts_per_step > 0 && options.completions_per_prompt > 0 && options.max_staleness_steps >= 0);
}

absl::Status RolloutLedger::Add(Prompt prompt) {
  if (prompt.id < next_prompt_id_) {
    return absl::InvalidArgumentError(
        absl::StrCat("prompt ", prompt.id, " cannot be added: the next id is ", next_prompt_id_, " or a later one"));
  }
  if (entries_.size() >= static_cast<size_t>(Room())) {
    return absl::ResourceExhaustedError(absl::StrCat("all ", Room(), " slots of the ledger are in use"));
  }
  next_prompt_id_ = prompt.id + 1;
  Entry& entry = entries_[prompt.id];
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
  for (const auto& [version, groups] : open_) open[std::min(Steps(version, version_), max_steps)] += groups;
  int64_t as_old = taken_at_ == version_.step ? static_cast<int64_t>(taken_.size()) : 0;  // being trained
  int64_t room = slots_;
  for (uint64_t behind = max_steps + 1; behind-- > 0;) {
    as_old += open[behind];
    if (behind > version_.step - std::min(held, version_.step)) continue;
    const auto in_time = static_cast<int64_t>(max_steps - behind + 1) * options_.prompts_per_step;
    room = std::min(room, in_time - as_old);
  }
  return room;
}

PolicyVersion RolloutLedger::OldestLeasable() const {
  const auto bound = static_cast<uint64_t>(options_.max_staleness_steps);
  const uint64_t lag = bound > 1 ? bound - 1 : 0;
  uint64_t step =
      std::max(published_.step - std::min(published_.step, lag), version_.step - std::min(version_.step, bound));
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
  const auto own = by_actor_.find(actor_id);
  bool has_last_try =
      own != by_actor_.end() && std::ranges::any_of(own->second, [&](uint64_t id) { return LastTry(entries_.at(id)); });
  std::vector<PromptLease> granted;
  for (auto next = waiting_.begin(); next != waiting_.end() && static_cast<int64_t>(granted.size()) < most;) {
    const uint64_t id = *next++;
    Entry& entry = entries_.at(id);
    if (LastTry(entry) && std::exchange(has_last_try, true)) continue;
    granted.push_back(Grant(entry, actor_id, held, now));
  }
  for (auto next = stragglers_.begin(); next != stragglers_.end() && static_cast<int64_t>(granted.size()) < most;) {
    const auto [since, id] = *next++;
    Entry& entry = entries_.at(id);
    if (since + options_.lease_timeout > now) break;
    if (entry.out[0].actor_id != actor_id && !LastTry(entry)) granted.push_back(Grant(entry, actor_id, held, now));
  }
  if (granted.empty()) return absl::ResourceExhaustedError("no prompt is waiting");
  counters_.leases_granted += static_cast<int64_t>(granted.size());
  return granted;
}

PromptLease RolloutLedger::Grant(Entry& entry, const std::string& actor_id, PolicyVersion held, absl::Duration now) {
  const uint64_t lease_id = uint64_t{version_.incarnation} << kLeaseCounterBits | next_lease_++;
  Leave(entry);
  Out out;
  static_cast<LeaseInfo&>(out) = {lease_id, entry.prompt.id, actor_id, now};
  out.deadline = now + options_.lease_timeout;
  out.version = std::min(held, version_);
  entry.version = entry.out.empty() ? out.version : std::min(entry.version, out.version);
  entry.out.push_back(std::move(out));
  Enter(entry, State::kLeased);
  return {lease_id,
          entry.prompt,
          options_.completions_per_prompt,
          options_.seed,
          absl::ToDoubleSeconds(options_.lease_timeout),
          version_,
          std::nullopt};
}

bool RolloutLedger::StragglersWait(absl::Duration now) const {
  return !stragglers_.empty() && stragglers_.begin()->first + options_.lease_timeout <= now;
}

std::vector<RolloutLedger::Out>::iterator RolloutLedger::Find(Entry& entry, uint64_t lease_id) {
  return std::ranges::find(entry.out, lease_id, &Out::lease_id);
}

RolloutLedger::Verdict RolloutLedger::Judge(const TrajectoryGroup& group) const {
  if (answered_.count(group.lease_id) > 0) return {absl::OkStatus(), RejectReason::kDuplicate};
  const auto lease = leases_.find(group.lease_id);
  if (lease == leases_.end()) {
    return {absl::NotFoundError(absl::StrCat("lease ", group.lease_id, " of prompt ", group.prompt_id, " has expired")),
            RejectReason::kExpired};
  }
  const Entry& entry = entries_.at(lease->second);
  const auto out = std::ranges::find(entry.out, group.lease_id, &Out::lease_id);
  const auto malformed = [&](absl::string_view what) -> Verdict {
    return {absl::InvalidArgumentError(absl::StrCat("the group for lease ", group.lease_id, " ", what)),
            RejectReason::kMalformed};
  };
  if (group.actor_id != out->actor_id) return malformed("comes from another actor than the lease's");
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
  Entry& entry = entries_.at(leases_.at(group.lease_id));
  RememberAnswered(group.lease_id);
  const PolicyVersion version = std::min(Find(entry, group.lease_id)->version, OldestSpan(group));
  MakeReady(entry, std::move(group), version);
  return absl::OkStatus();
}

void RolloutLedger::CountMalformed() {
  ++counters_.received;
  ++counters_[RejectReason::kMalformed];
}

void RolloutLedger::MakeReady(Entry& entry, TrajectoryGroup group, PolicyVersion version) {
  Leave(entry);
  entry.out.clear();
  entry.version = version;
  entry.no_signal = EqualRewards(group.completions, options_.advantage_level);
  entry.group = std::move(group);
  Enter(entry, State::kReady);
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
  const uint64_t id = entry.prompt.id;
  entry.state = state;
  if (state == State::kWaiting) waiting_.insert(id);
  if (state == State::kLeased || state == State::kReady) ++open_[entry.version];
  if (state != State::kLeased) return;
  for (const Out& out : entry.out) {
    leases_[out.lease_id] = id;
    by_actor_[out.actor_id].insert(id);
    deadlines_.emplace(out.deadline, out.lease_id);
  }
  if (entry.out.size() == 1) stragglers_.emplace(entry.out[0].leased_at, id);
}

void RolloutLedger::Leave(Entry& entry) {
  const uint64_t id = entry.prompt.id;
  if (entry.state == State::kWaiting) waiting_.erase(id);
  if (entry.state == State::kLeased || entry.state == State::kReady) {
    const auto open = open_.find(entry.version);
    if (--open->second == 0) open_.erase(open);
  }
  if (entry.state != State::kLeased) return;
  for (const Out& out : entry.out) {
    leases_.erase(out.lease_id);
    const auto own = by_actor_.find(out.actor_id);
    own->second.erase(id);
    if (own->second.empty()) by_actor_.erase(own);
    deadlines_.erase({out.deadline, out.lease_id});
  }
  if (entry.out.size() == 1) stragglers_.erase({entry.out[0].leased_at, id});
}

void RolloutLedger::Wait(Entry& entry) {
  Leave(entry);
  entry.out.clear();
  entry.group = {};
  Enter(entry, State::kWaiting);
}

bool RolloutLedger::LastTry(const Entry& entry) const {
  return options_.max_attempts > 0 && entry.failures > 0 && entry.failures + 1 >= options_.max_attempts;
}

EndedLease RolloutLedger::Fail(uint64_t lease_id) {
  Entry& entry = entries_.at(leases_.at(lease_id));
  EndedLease ended{*Find(entry, lease_id), ++entry.failures};
  Leave(entry);
  entry.out.erase(Find(entry, lease_id));
  if (!entry.out.empty()) {  // the other goes on
    entry.version = entry.out[0].version;
    Enter(entry, State::kLeased);
    return ended;
  }
  ended.dropped = options_.max_attempts > 0 && entry.failures >= options_.max_attempts;
  if (ended.dropped) {
    entries_.erase(ended.prompt_id);
    ++counters_.prompts_dropped;
  } else {
    entry.group = {};
    Enter(entry, State::kWaiting);
  }
  return ended;
}

std::vector<EndedLease> RolloutLedger::Expire(absl::Duration now) {
  std::vector<EndedLease> expired;
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    expired.push_back(Fail(deadlines_.begin()->second));
  }
  counters_.leases_expired += static_cast<int64_t>(expired.size());
  return expired;
}

std::vector<EndedLease> RolloutLedger::ReturnLeases(const std::string& actor_id, std::span<const uint64_t> keep) {
  std::vector<EndedLease> returned;
  const auto own = by_actor_.find(actor_id);
  if (own == by_actor_.end()) return returned;
  for (const uint64_t id : std::set<uint64_t>(own->second)) {
    const std::vector<Out>& out = entries_.at(id).out;
    const uint64_t lease_id = std::ranges::find(out, actor_id, &Out::actor_id)->lease_id;
    if (std::find(keep.begin(), keep.end(), lease_id) == keep.end()) returned.push_back(Fail(lease_id));
  }
  counters_.leases_returned += static_cast<int64_t>(returned.size());
  return returned;
}

std::vector<uint64_t> RolloutLedger::Renew(const std::string& actor_id, std::span<const uint64_t> lease_ids,
                                           absl::Duration now) {
  std::vector<uint64_t> ended;
  for (const uint64_t lease_id : lease_ids) {
    const auto lease = leases_.find(lease_id);
    if (lease != leases_.end() && Find(entries_.at(lease->second), lease_id)->actor_id == actor_id) {
      Entry& entry = entries_.at(lease->second);
      Leave(entry);
      const auto out = Find(entry, lease_id);
      out->deadline = std::max(out->deadline, now + options_.lease_timeout);
      Enter(entry, State::kLeased);
    } else if (answered_.count(lease_id) == 0) {
      ended.push_back(lease_id);
    }
  }
  return ended;
}

absl::Status RolloutLedger::SetVersion(PolicyVersion version) {
  if (version <= published_) {
    return absl::InvalidArgumentError(
        absl::StrCat("version ", VersionName(version), " is not newer than ", VersionName(published_)));
  }
  if (version > version_) RETURN_IF_ERROR(SetTrained(version));
  published_ = version;
  return absl::OkStatus();
}

absl::Status RolloutLedger::SetTrained(PolicyVersion version) {
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

LedgerView RolloutLedger::View() const {
  LedgerView view;
  view.free_slots = std::max(0, Room() - static_cast<int>(entries_.size()));
  view.replaceable = Replaceable();
  view.open = static_cast<int>(entries_.size());
  view.added = view.open + counters_.trained + counters_[DropReason::kNoSignal] + counters_.prompts_dropped;
  for (const auto& [id, entry] : entries_) {
    view.waiting += entry.state == State::kWaiting;
    view.ready += entry.state == State::kReady;
    view.taken += entry.state == State::kTaken;
    if (entry.state != State::kLeased) continue;
    ++view.leased;
    if (!view.oldest_lease.has_value() || entry.out[0].leased_at < view.oldest_lease->leased_at) {
      view.oldest_lease = entry.out[0];
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
  const auto own = by_actor_.find(actor_id);
  return own == by_actor_.end() ? 0 : static_cast<int>(own->second.size());
}

}  // namespace tactus
