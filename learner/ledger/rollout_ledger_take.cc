// What the ledger's next step is trained on.
#include <algorithm>
#include <cassert>
#include <utility>

#include "absl/strings/str_cat.h"
#include "learner/ledger/group_facts.h"
#include "learner/ledger/rollout_ledger.h"

namespace tactus {

void RolloutLedger::DropStale() {
  const auto stale = [this](PolicyVersion version) {
    return Steps(version, version_) > static_cast<uint64_t>(options_.max_staleness_steps);
  };
  // Asked with each group that comes: of a handful of versions, not of every prompt.
  if (std::ranges::none_of(open_, [&](const auto& item) { return stale(item.first); })) return;
  for (auto& [id, entry] : entries_) {
    if (entry.state != State::kReady || !stale(entry.version)) continue;
    Wait(entry);
    --counters_.queued;
    ++counters_[DropReason::kStale];
  }
}

void RolloutLedger::DropWithoutSignal(uint64_t prompt_id) {
  const auto entry = entries_.find(prompt_id);
  left_out_.push_back(OutcomeOf(entry->second.group));
  Leave(entry->second);
  entries_.erase(entry);
  ++replaced_;
  --counters_.queued;
  ++counters_[DropReason::kNoSignal];
}

int RolloutLedger::Replaceable() const {
  if (replaced_ == options_.max_replaced_groups) return 0;  // always, where none is replaced
  const auto found = std::count_if(entries_.begin(), entries_.end(), [](const auto& item) {
    return item.second.state == State::kReady && item.second.no_signal;
  });
  return std::min(static_cast<int>(found), options_.max_replaced_groups - replaced_);
}

int RolloutLedger::Room() const { return slots_ + Replaceable(); }

std::vector<RolloutLedger::Entry*> RolloutLedger::ChooseInOrder(size_t wanted, size_t least) {
  std::vector<Entry*> chosen;
  std::vector<uint64_t> left_out;
  for (auto& [id, entry] : entries_) {
    if (entry.state == State::kTaken) continue;
    if (entry.state != State::kReady) break;
    if (entry.no_signal && left_out.size() < static_cast<size_t>(options_.max_replaced_groups)) {
      left_out.push_back(id);
      continue;
    }
    chosen.push_back(&entry);
    if (chosen.size() == wanted) break;
  }
  if (chosen.size() < least) return {};
  // Not before: of a step that is not taken after all, and of a restart meanwhile, nothing must remain.
  if (chosen.size() == wanted) {
    for (const uint64_t done : left_out) DropWithoutSignal(done);
  }
  return chosen;
}

std::vector<RolloutLedger::Entry*> RolloutLedger::ChooseOldestVersion(size_t wanted, size_t least) {
  const size_t ready_at_most = static_cast<size_t>(counters_.queued) - taken_.size();
  if (options_.max_replaced_groups == 0 && ready_at_most < least) return {};
  std::vector<uint64_t> left_out;
  const auto replaceable = static_cast<size_t>(Replaceable());
  for (const auto& [id, entry] : entries_) {
    if (left_out.size() == replaceable) break;
    if (entry.state == State::kReady && entry.no_signal) left_out.push_back(id);
  }
  for (const uint64_t done : left_out) DropWithoutSignal(done);
  std::vector<Entry*> ready;
  for (auto& [id, entry] : entries_) {
    if (entry.state == State::kReady) ready.push_back(&entry);
  }
  std::stable_sort(ready.begin(), ready.end(),
                   [](const Entry* a, const Entry* b) { return a->version.step < b->version.step; });
  ready.resize(MayGo(ready, wanted));
  if (ready.size() < least) return {};
  std::sort(ready.begin(), ready.end(), [](const Entry* a, const Entry* b) { return a->prompt.id < b->prompt.id; });
  return ready;
}

// One more may go unless leased groups with older weights could then not all be trained, by the places that it leaves
// in this step and by later steps. Waiting for them costs a moment; not waiting would throw away long answers more
// often than short ones, and so bias what is learned.
size_t RolloutLedger::MayGo(std::span<Entry* const> ready, size_t places) const {
  std::map<uint64_t, int64_t> leased;  // by the step of their weights
  for (const auto& [id, entry] : entries_) {
    if (entry.state == State::kLeased) ++leased[entry.version.step];
  }
  size_t going = 0;
  for (; going < std::min(ready.size(), places); ++going) {
    const auto left = static_cast<int64_t>(places - going) - 1;
    int64_t older = 0;
    for (const auto& [step, groups] : leased) {
      if (ready[going]->version.step <= step) break;  // there is nothing younger to put off
      const uint64_t last = step + static_cast<uint64_t>(options_.max_staleness_steps);
      if (last < version_.step) continue;  // lost whatever is done
      older += groups;
      if (older > left + static_cast<int64_t>(last - version_.step) * options_.prompts_per_step) return going;
    }
  }
  return going;
}

std::vector<TrajectoryGroup> RolloutLedger::Take(int wanted, int least) {
  assert(least >= 1 && least <= wanted && wanted <= slots_);
  DropStale();
  const auto most = static_cast<size_t>(wanted), fewest = static_cast<size_t>(least);
  std::vector<TrajectoryGroup> groups;
  for (Entry* entry :
       options_.max_staleness_steps == 0 ? ChooseInOrder(most, fewest) : ChooseOldestVersion(most, fewest)) {
    Leave(*entry);
    Enter(*entry, State::kTaken);
    taken_.push_back(entry->prompt.id);
    taken_at_ = version_.step;
    groups.push_back(std::move(entry->group));
  }
  if (groups.size() == most) replaced_ = 0;
  return groups;
}

absl::Status RolloutLedger::PutBack(std::vector<TrajectoryGroup> groups) {
  const auto same = [](const TrajectoryGroup& group, uint64_t id) { return group.prompt_id == id; };
  if (groups.size() > taken_.size() || !std::equal(groups.rbegin(), groups.rend(), taken_.rbegin(), same)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "cannot put ", groups.size(), " groups back: they are not the last of the ", taken_.size(), " taken"));
  }
  for (TrajectoryGroup& group : groups) {
    Entry& entry = entries_.at(group.prompt_id);
    Leave(entry);
    entry.group = std::move(group);
    Enter(entry, State::kReady);
    taken_.pop_back();
  }
  return absl::OkStatus();
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

}  // namespace tactus
