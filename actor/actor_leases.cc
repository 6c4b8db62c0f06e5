// How leases are worked on here, what the engine thread tells the learner of them, and what becomes of their groups.
#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "actor/actor.h"
#include "common/base/log.h"
#include "common/base/monotonic_clock.h"
#include "common/data/turns.h"

namespace tactus {
namespace {

constexpr absl::Duration kRenewEvery = absl::Milliseconds(100);
// A submit thread that shows no progress for longer (a call takes 30 s at most), or for a lease's whole time, stands
// still.
constexpr absl::Duration kSubmitPatience = absl::Minutes(1);
// Of a group one of whose conversations failed: what its server knew of it is lost, and a learner would give the prompt
// out again only when the lease's time is over.
constexpr int kMostRestarts = 2;

}  // namespace

// Enough groups to fill the free slots, so that the fleet's prompts spread over its actors.
int Actor::LeaseRoom() const {
  const int free_sequences = engine_->max_sequences() - (unfinished_completions_ - waiting_turns_);
  if (!held_.has_value() || free_sequences <= 0) return 0;
  const int groups = (free_sequences + settings_.completions_per_prompt - 1) / settings_.completions_per_prompt;
  // Held-out prompts may have fewer answers than others, or more: an engine that is full of answers has what it can do.
  const int open = (open_answers_ + settings_.completions_per_prompt - 1) / settings_.completions_per_prompt;
  return std::min(groups, settings_.max_leases - open);
}

EngineRequest Actor::RequestOf(const PromptLease& lease) const {
  EngineRequest request;
  request.request_id = lease.lease_id;
  request.prompt_id = lease.prompt.id;
  request.seed = lease.seed;
  request.prompt_ids = lease.prompt.token_ids;
  request.num_completions = lease.completions_wanted;
  request.max_tokens = settings_.max_completion_tokens;
  request.sampling = settings_.sampling;
  if (const auto& held_out = lease.evaluation; held_out.has_value()) {
    request.sampling = {.temperature = held_out->temperature, .top_p = held_out->top_p, .top_k = held_out->top_k};
  }
  request.stop_ids = settings_.stop_ids;
  request.measure_rhythm = scorer_.MeasuresAttention() && !lease.evaluation.has_value();
  if (conversations_.has_value()) request.max_turn_tokens = conversations_->max_turn_tokens();
  return request;
}

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

std::optional<Actor::OpenGroup> Actor::TakeFromEngine(uint64_t lease_id) {
  const auto found = open_.find(lease_id);
  if (found == open_.end()) return std::nullopt;
  if (conversations_.has_value()) conversations_->End(lease_id);
  const bool continued = vine_.has_value() && vine_->End(lease_id).has_value();
  if (!continued && !engine_->Cancel(lease_id).ok()) {
    TACTUS_LOG(WARNING) << "lease " << lease_id << " was not in the engine";
  }
  std::optional<OpenGroup> open = std::move(found->second);
  open_.erase(found);
  return open;
}

void Actor::RestartOrDrop(uint64_t lease_id, const absl::Status& why) {
  std::optional<OpenGroup> open = TakeFromEngine(lease_id);
  if (!open.has_value()) return;
  const bool again = open->restarts < kMostRestarts;
  TACTUS_LOG(WARNING) << "lease " << lease_id << (again ? " begun again" : " dropped") << ": prompt "
                      << open->lease.prompt.id << ": " << why.message();
  absl::MutexLock lock(&mutex_);
  if (!again) {
    ++stats_.groups_unscored;
    return CloseGroup(open->lease, open->unfinished);
  }
  ++open->restarts;
  const int wanted = open->lease.completions_wanted;
  unfinished_completions_ += wanted - std::exchange(open->unfinished, wanted);
  open->group.completions.assign(static_cast<size_t>(wanted), {});
  open->attention.clear();
  open->attention.resize(static_cast<size_t>(wanted));
  leased_.push_back(*std::move(open));
}

void Actor::Collect(std::span<FinishedCompletion> finished) {
  for (FinishedCompletion& one : finished) {
    const uint64_t lease_id = vine_.has_value() ? vine_->LeaseOf(one.request_id) : one.request_id;
    const bool continued = lease_id != one.request_id;
    const auto found = open_.find(lease_id);
    if (found == open_.end()) continue;
    OpenGroup& open = found->second;
    absl::MutexLock lock(&mutex_);
    if (continued) {
      stats_.continuation_tokens += SampledTokens(one.completion);
      vine_->Keep(one);
    } else {
      KeepAnswer(open, std::move(one));
    }
    --unfinished_completions_;
    changed_.SignalAll();
    if (--open.unfinished > 0) continue;
    if (continued) {
      open.continuations = *vine_->End(lease_id);
    } else if (vine_.has_value() && !open.lease.evaluation.has_value()) {
      open.unfinished = vine_->Begin(RequestOf(open.lease), open.group);
      unfinished_completions_ += open.unfinished;
      continue;
    }
    open.sampled = MonotonicNow();
    open.judged_until = open.sampled + absl::Seconds(open.lease.timeout_s);
    finished_.push_back(std::move(open));
    open_.erase(found);
  }
}

void Actor::KeepAnswer(OpenGroup& open, FinishedCompletion one) {
  ++stats_.completions;
  stats_.completion_tokens += SampledTokens(one.completion);
  // A completion that lived through a swap is judged by the classes of the version that sampled its last token.
  std::shared_ptr<const HeadClasses> heads = head_classes_.Of(one.completion.versions.back().version);
  open.group.completions[one.completion_index] = std::move(one.completion);
  open.attention[one.completion_index] = {std::move(one.rhythm), std::move(heads)};
}

void Actor::Converse() {
  {
    absl::MutexLock lock(&mutex_);
    replies_wait_ = false;
  }
  Conversations::Outcome outcome = conversations_->Exchange();
  Collect(outcome.finished);
  for (const auto& [lease_id, status] : outcome.failed) RestartOrDrop(lease_id, status);
  absl::MutexLock lock(&mutex_);
  stats_.engine = engine_->stats();
  const int waiting = stats_.engine.waiting_turns;
  if (waiting > waiting_turns_) changed_.SignalAll();  // there may be room for more leases
  waiting_turns_ = waiting;
}

void Actor::DropGroup(uint64_t lease_id) {
  std::optional<OpenGroup> open = TakeFromEngine(lease_id);
  absl::MutexLock lock(&mutex_);
  if (const auto submitting = submitting_.find(lease_id); submitting != submitting_.end()) {
    submitting->second.ended = true;  // and is closed by its thread, which may just be hearing that it was in time
    return;
  }
  const auto take_from = [&](std::deque<OpenGroup>& groups) {
    const auto is_it = [lease_id](const OpenGroup& group) { return group.lease.lease_id == lease_id; };
    const auto found = std::ranges::find_if(groups, is_it);
    if (open.has_value() || found == groups.end()) return;
    open = std::move(*found);
    groups.erase(found);
  };
  take_from(leased_);
  take_from(finished_);
  if (!open.has_value()) return;  // submitted meanwhile
  TACTUS_LOG(WARNING) << "lease " << lease_id << " has ended with " << open->unfinished << " completions unfinished";
  ++stats_.groups_expired;
  CloseGroup(open->lease, open->unfinished);
}

}  // namespace tactus
