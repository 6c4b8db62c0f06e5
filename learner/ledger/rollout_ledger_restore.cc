// The ledger's way through a restart.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/data/codec.h"
#include "learner/ledger/group_facts.h"
#include "learner/ledger/rollout_ledger.h"

namespace tactus {

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
    snapshot.failures.push_back(entry.failures);
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
  if (prompts.size() != snapshot.open_prompt_ids.size() || prompts.size() > static_cast<size_t>(most_)) {
    return absl::InvalidArgumentError(absl::StrCat("the snapshot has ", snapshot.open_prompt_ids.size(),
                                                   " open prompts, ", prompts.size(), " were given and ", most_,
                                                   " fit"));
  }
  if (!snapshot.failures.empty() && snapshot.failures.size() != prompts.size()) {
    return absl::InvalidArgumentError(absl::StrCat("the snapshot has ", prompts.size(), " open prompts and counts of ",
                                                   snapshot.failures.size(), " for leases that ended unanswered"));
  }
  std::map<uint64_t, Entry> entries;
  for (size_t i = 0; i < prompts.size(); ++i) {
    const uint64_t id = snapshot.open_prompt_ids[i];
    if (prompts[i].id != id || id >= snapshot.next_prompt_id || entries.count(id) > 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("open prompt ", i, " of the snapshot has id ", id, " and the one given for it ", prompts[i].id));
    }
    entries[id].prompt = std::move(prompts[i]);
    if (!snapshot.failures.empty()) entries[id].failures = snapshot.failures[i];
  }
  std::map<uint64_t, TrajectoryGroup> not_yet_added;
  for (const ReadyGroup& ready : snapshot.ready) {
    const auto entry = entries.find(ready.group.prompt_id);
    if (ready.group.prompt_id >= snapshot.next_prompt_id && not_yet_added.size() < static_cast<size_t>(most_)) {
      not_yet_added[ready.group.prompt_id] = ready.group;
    } else if (entry == entries.end() || entry->second.state == State::kReady ||
               entry->second.prompt.token_ids != ready.group.prompt_token_ids) {
      return absl::InvalidArgumentError(
          absl::StrCat("the snapshot's group for prompt ", ready.group.prompt_id, " does not answer an open prompt"));
    } else {
      entry->second.state = State::kReady;
      entry->second.group = ready.group;
      entry->second.no_signal = EqualRewards(ready.group.completions, options_.advantage_level);
      entry->second.version = ready.version;
    }
  }
  if (!snapshot.counters.Balanced() || snapshot.counters.queued != static_cast<int64_t>(snapshot.ready.size())) {
    return absl::InvalidArgumentError("the snapshot's counters do not add up");
  }
  version_ = published_ = {incarnation, snapshot.version.step};
  next_prompt_id_ = snapshot.next_prompt_id;
  entries_ = std::move(entries);
  for (auto& [id, entry] : entries_) Enter(entry, entry.state);
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
  } else if (usable && ahead && not_yet_added_.size() < static_cast<size_t>(most_)) {
    ++counters_.queued;
    not_yet_added_.emplace(group.prompt_id, std::move(group));
  } else {
    ++counters_[DropReason::kRolledBack];
  }
}

}  // namespace tactus
