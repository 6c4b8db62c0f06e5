// What the engine thread tells the learner of the leases that are worked on here.
#include <algorithm>
#include <vector>

#include "actor/actor.h"
#include "common/base/log.h"
#include "common/base/monotonic_clock.h"

namespace tactus {
namespace {

constexpr absl::Duration kRenewEvery = absl::Milliseconds(100);
// A submit thread that shows no progress for longer (a call takes 30 s at most), or for a lease's whole time, stands
// still.
constexpr absl::Duration kSubmitPatience = absl::Minutes(1);

}  // namespace

void Actor::RenewLeases() {
  const absl::Time now = MonotonicNow();
  if (now - renewed_ < kRenewEvery) return;
  std::vector<uint64_t> working;
  for (const auto& [id, open] : open_) working.push_back(id);
  {
    absl::MutexLock lock(&mutex_);
    for (const OpenGroup& open : leased_) working.push_back(open.lease.lease_id);
    const auto submits = [now](const PromptLease& lease, absl::Time progress) {
      return now - progress < std::max(kSubmitPatience, absl::Seconds(lease.timeout_s));
    };
    for (const OpenGroup& open : finished_) {
      if (submits(open.lease, submit_progress_)) working.push_back(open.lease.lease_id);
    }
    for (const auto& [id, submitting] : submitting_) {
      if (submits(submitting.lease, submitting.progress)) working.push_back(id);
    }
  }
  if (working.empty()) return;
  renewed_ = now;
  for (const uint64_t id : port_->Renew(working)) DropGroup(id);
}

void Actor::DropGroup(uint64_t lease_id) {
  const auto is_it = [lease_id](const OpenGroup& open) { return open.lease.lease_id == lease_id; };
  const auto in_engine = open_.find(lease_id);
  if (in_engine != open_.end() && !engine_->Cancel(lease_id).ok()) {
    TACTUS_LOG(WARNING) << "lease " << lease_id << " was not in the engine";
  }
  absl::MutexLock lock(&mutex_);
  if (const auto submitting = submitting_.find(lease_id); submitting != submitting_.end()) {
    submitting->second.ended = true;  // and is closed by its thread, which may just be hearing that it was in time
    return;
  }
  int unfinished = 0;
  if (in_engine != open_.end()) {
    unfinished = in_engine->second.unfinished;
    open_.erase(in_engine);
  } else if (const auto waits = std::ranges::find_if(leased_, is_it); waits != leased_.end()) {
    unfinished = waits->unfinished;
    leased_.erase(waits);
  } else if (const auto done = std::ranges::find_if(finished_, is_it); done != finished_.end()) {
    finished_.erase(done);
  } else {
    return;  // submitted meanwhile
  }
  TACTUS_LOG(WARNING) << "lease " << lease_id << " has ended with " << unfinished << " of "
                      << settings_.completions_per_prompt << " completions unfinished";
  ++stats_.groups_expired;
  CloseGroup(unfinished);
}

}  // namespace tactus
