#include "actor/actor.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/monotonic_clock.h"
#include "common/base/status_macros.h"
#include "common/base/thread.h"

namespace tactus {
namespace {

// Longest time between two looks at the stop flag, which a signal handler sets without waking anybody.
constexpr absl::Duration kSlice = absl::Milliseconds(200);
constexpr absl::Duration kCallTimeout = absl::Seconds(1);
constexpr absl::Duration kSubmitTimeout = absl::Seconds(30);
constexpr absl::Duration kLogWaitEvery = absl::Seconds(10);
constexpr absl::Duration kFirstPause = absl::Milliseconds(100);
constexpr absl::Duration kLongestPause = absl::Seconds(5);
// Groups the learner refuses as malformed in a row before the actor gives up: the fault is ours and will not pass.
constexpr int kMaxRefusedInRow = 8;

std::string Name(const PolicyVersion& version) { return absl::StrCat(version.incarnation, ".", version.step); }

// The learner is out of reach, or a call took too long: worth another try.
bool MayPass(const absl::Status& status) { return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status); }

}  // namespace

// Logs a wait that lasts: what is awaited and since when.
struct Actor::Wait {
  std::string what;
  absl::Time since = absl::InfinitePast();
  absl::Time logged = absl::InfinitePast();

  void Continue(const std::string& now_awaited) {
    const absl::Time now = MonotonicNow();
    if (now_awaited != what || since == absl::InfinitePast()) {
      what = now_awaited;
      since = logged = now;
    } else if (now - logged >= kLogWaitEvery) {
      logged = now;
      TACTUS_LOG(INFO) << "waiting for " << what << " since "
                       << absl::FormatDuration(absl::Trunc(now - since, absl::Seconds(1)));
    }
  }
  void End() { since = absl::InfinitePast(); }
};

struct Actor::Drain {
  absl::Time deadline = absl::InfiniteFuture();  // until a stop is asked for
  absl::Time attached;                           // last seen so
};

Actor::Actor(ActorSettings settings, std::unique_ptr<Engine> engine, RolloutPort* port, WeightSource* weights,
             GroupScorer scorer, const std::optional<ConversationParts>& conversations)
    : settings_(std::move(settings)), port_(port), weights_(weights), scorer_(scorer), engine_(std::move(engine)) {
  if (scorer_.vine().has_value()) vine_.emplace(*scorer_.vine(), engine_.get());
  if (!conversations.has_value()) return;
  conversations_.emplace(*conversations, engine_.get());
  conversations_->episodes().Watch([this] {
    absl::MutexLock lock(&mutex_);
    replies_wait_ = true;
    changed_.SignalAll();
  });
}

Actor::~Actor() {
  if (conversations_.has_value()) conversations_->episodes().Close();  // which calls the actor no more
}

absl::Status Actor::Run() {
  HeardLearner();
  std::vector<std::thread> threads;
  absl::Status status = StartThreads(threads);
  if (status.ok()) status = EngineLoop();
  {
    absl::MutexLock lock(&mutex_);
    closing_ = true;
    changed_.SignalAll();
    if (!fatal_.ok()) status = fatal_;
  }
  port_->Close();
  weights_->Close();
  scorer_.Close();
  if (conversations_.has_value()) conversations_->episodes().Close();
  for (std::thread& thread : threads) thread.join();
  return status;
}

absl::Status Actor::StartThreads(std::vector<std::thread>& threads) {
  ASSIGN_OR_RETURN(threads.emplace_back(), StartThread("weights", [this] { WeightsLoop(); }));
  ASSIGN_OR_RETURN(threads.emplace_back(), StartThread("leases", [this] { LeaseLoop(); }));
  for (int i = 0; i < scorer_.calls_at_once(); ++i) {
    ASSIGN_OR_RETURN(threads.emplace_back(), StartThread("submissions", [this] { SubmitLoop(); }));
  }
  return absl::OkStatus();
}

// ---- engine thread --------------------------------------------------------------------------------------------------

absl::Status Actor::EngineLoop() {
  Wait wait;
  Drain drain;
  while (!Done(drain)) {
    RETURN_IF_ERROR(SwapStagedWeights());
    if (vine_.has_value()) RETURN_IF_ERROR(vine_->Feed());  // first: what was begun is finished
    RETURN_IF_ERROR(StartLeasedGroups());
    RenewLeases();
    if (conversations_.has_value()) Converse();
    if (engine_->idle()) {
      WaitForWork(wait);
      continue;
    }
    wait.End();
    const absl::Time start = MonotonicNow();
    ASSIGN_OR_RETURN(const std::span<FinishedCompletion> finished, engine_->Step());
    Collect(finished);
    absl::MutexLock lock(&mutex_);
    stats_.step_s += SecondsSince(start);
    stats_.engine = engine_->stats();
  }
  return absl::OkStatus();
}

bool Actor::Done(Drain& drain) {
  if (port_->RunFinished()) {
    TACTUS_LOG(INFO) << "the learner says that the run is finished";
    return true;
  }
  const bool attached = port_->Attached();
  const absl::Time now = MonotonicNow();
  absl::MutexLock lock(&mutex_);
  if (!fatal_.ok()) return true;
  if (!stop_requested()) return false;
  if (attached || drain.deadline == absl::InfiniteFuture()) drain.attached = now;
  if (drain.deadline == absl::InfiniteFuture()) {
    drain.deadline = now + settings_.drain_grace;
    TACTUS_LOG(INFO) << "asked to stop: finishing " << open_groups_ << " groups within "
                     << absl::FormatDuration(settings_.drain_grace);
  }
  if (open_groups_ == 0) return true;
  if (now < drain.deadline && now - drain.attached < settings_.drain_detached) return false;
  TACTUS_LOG(WARNING) << "leaving " << open_groups_ << " groups unfinished: their leases return to the queue";
  return true;
}

absl::Status Actor::SwapStagedWeights() {
  std::optional<NewWeights> staged;
  {
    absl::MutexLock lock(&mutex_);
    if (!staged_.has_value()) return absl::OkStatus();
    staged = staged_;  // which stays until its numbers are in use: the weights thread stages no other before
  }
  RETURN_IF_ERROR(engine_->UseStagedWeights(staged->version));
  SetLogVersion(Name(staged->version));
  engine_->UseFlowHeads(staged->head_classes.has_value() ? &*staged->head_classes : nullptr);
  head_classes_.Add(staged->version, std::move(staged->head_classes));
  PolicyVersion oldest = staged->version;
  for (const auto& [id, open] : open_) oldest = std::min(oldest, open.started);
  head_classes_.Forget(oldest);
  absl::MutexLock lock(&mutex_);
  staged_.reset();
  held_ = staged->version;
  version_too_old_ = false;
  ++stats_.weight_swaps;
  stats_.version = held_;
  changed_.SignalAll();
  return absl::OkStatus();
}

absl::Status Actor::StartLeasedGroups() {
  while (!engine_->full()) {
    OpenGroup open;
    {
      absl::MutexLock lock(&mutex_);
      if (leased_.empty()) return absl::OkStatus();
      open = std::move(leased_.front());
      leased_.pop_front();
      stats_.prompt_tokens += static_cast<int64_t>(open.lease.prompt.token_ids.size());
    }
    RETURN_IF_ERROR(engine_->Add(RequestOf(open.lease)));
    if (conversations_.has_value()) conversations_->Begin(open.lease, settings_.max_completion_tokens);
    open.started = engine_->version();
    open.began = MonotonicNow();
    open_.emplace(open.lease.lease_id, std::move(open));
  }
  return absl::OkStatus();
}

void Actor::WaitForWork(Wait& wait) {
  const bool attached = port_->Attached();
  absl::MutexLock lock(&mutex_);
  const bool want_weights = !held_.has_value() || version_too_old_;
  double* const waited = !attached                                                    ? &stats_.wait_disconnected_s
                         : want_weights                                               ? &stats_.wait_weights_s
                         : open_groups_ >= settings_.max_leases || waiting_turns_ > 0 ? &stats_.wait_scoring_s
                                                                                      : &stats_.wait_lease_s;
  wait.Continue(want_weights ? absl::StrCat("weights newer than ", held_ ? Name(*held_) : "none", " from the learner")
                : waiting_turns_ > 0 ? absl::StrCat("the environment's replies to ", waiting_turns_, " turns")
                                     : absl::StrCat("a lease from the learner (holding weights ", Name(*held_), ")"));
  const absl::Time start = MonotonicNow();
  const auto work = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return closing_ || !fatal_.ok() || !leased_.empty() || staged_.has_value() || replies_wait_;
  };
  changed_.AwaitFor(&mutex_, kSlice, work);
  *waited += SecondsSince(start);
}

// ---- lease thread ---------------------------------------------------------------------------------------------------

void Actor::LeaseLoop() {
  BackOff pauses(kFirstPause, kLongestPause, /*jitter=*/true);
  while (!closing() && !stop_requested()) {
    PolicyVersion held;
    int room = 0;
    {
      absl::MutexLock lock(&mutex_);
      if (version_too_old_) {
        const auto newer = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return closing_ || !version_too_old_; };
        changed_.AwaitFor(&mutex_, kSlice, newer);
      }
      const auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return closing_ || LeaseRoom() > 0; };
      if (!changed_.AwaitFor(&mutex_, kSlice, ready) || closing_) continue;
      held = *held_;
      room = LeaseRoom();
    }
    if (!HandleLeases(port_->Lease(room, held, kCallTimeout), held, pauses)) return;
  }
}

// False: leasing is over.
bool Actor::HandleLeases(absl::StatusOr<std::vector<PromptLease>> leases, PolicyVersion held, BackOff& pauses) {
  if (leases.ok()) {
    pauses.Reset();
    HeardLearner();
    absl::MutexLock lock(&mutex_);
    for (PromptLease& lease : *leases) {
      OpenGroup open;
      open.unfinished = lease.completions_wanted;
      open.group.lease_id = lease.lease_id;
      open.group.prompt_id = lease.prompt.id;
      open.group.prompt_token_ids = lease.prompt.token_ids;
      open.group.actor_id = settings_.actor_id;
      open.group.completions.resize(lease.completions_wanted);
      open.attention.resize(lease.completions_wanted);
      open.lease = std::move(lease);
      ++open_groups_;
      open_answers_ += open.unfinished;
      unfinished_completions_ += open.unfinished;
      ++stats_.groups_leased;
      leased_.push_back(std::move(open));
    }
    changed_.SignalAll();
    return true;
  }
  const absl::Status& status = leases.status();
  if (absl::IsFailedPrecondition(status)) {
    pauses.Reset();
    HeardLearner();
    absl::MutexLock lock(&mutex_);
    version_too_old_ = held_ == held;
    return true;
  }
  if (absl::IsDeadlineExceeded(status)) return true;
  if (absl::IsCancelled(status)) return false;
  if (!MayPass(status)) {
    SetFatal(status);
    return false;
  }
  Pause(status, "leasing prompts", pauses);
  return true;
}

// ---- weights thread -------------------------------------------------------------------------------------------------

void Actor::WeightsLoop() {
  std::optional<PolicyVersion> have;
  BackOff pauses(kFirstPause, kLongestPause, /*jitter=*/true);
  while (!closing()) {
    {
      absl::MutexLock lock(&mutex_);
      const auto taken = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return closing_ || !staged_.has_value(); };
      if (!changed_.AwaitFor(&mutex_, kSlice, taken)) continue;
    }
    absl::StatusOr<std::optional<NewWeights>> fetched = weights_->Fetch(have, kCallTimeout);
    if (fetched.ok()) {
      pauses.Reset();
      if (!fetched->has_value()) continue;
      HeardLearner();
      if (const absl::Status staged = Stage(**fetched); absl::IsAborted(staged)) {
        continue;
      } else if (!staged.ok()) {
        SetFatal(staged);
        return;
      }
      have = (*fetched)->version;
      absl::MutexLock lock(&mutex_);
      staged_ = *std::move(fetched);
      changed_.SignalAll();
    } else if (absl::IsCancelled(fetched.status())) {
      return;
    } else if (MayPass(fetched.status()) || absl::IsDataLoss(fetched.status())) {
      Pause(fetched.status(), "fetching weights", pauses);
    } else {
      SetFatal(fetched.status());
      return;
    }
  }
}

absl::Status Actor::Stage(NewWeights& weights) {
  if (!weights.shared.has_value()) return engine_->StageWeights(std::move(weights.parameters));
  absl::Status status = engine_->StageSharedWeights(*weights.shared);
  if (status.ok() || absl::IsAborted(status)) return status;
  TACTUS_LOG(WARNING) << "weights will come over the network, as those in the learner's GPU memory are of no use: "
                      << status.message();
  weights_->DeclineShared();
  return absl::AbortedError("to be fetched again");
}

// ---- submit thread --------------------------------------------------------------------------------------------------

void Actor::SubmitLoop() {
  while (true) {
    OpenGroup open;
    {
      absl::MutexLock lock(&mutex_);
      submit_progress_ = MonotonicNow();
      const auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
        return closing_ || !fatal_.ok() || !finished_.empty();
      };
      if (!changed_.AwaitFor(&mutex_, kCallTimeout, ready)) continue;
      if (closing_ || !fatal_.ok()) return;
      open = std::move(finished_.front());
      finished_.pop_front();
      submitting_[open.lease.lease_id] = {.lease = open.lease, .progress = MonotonicNow()};
    }
    ScoreAndSubmit(open);
    absl::MutexLock lock(&mutex_);
    submitting_.erase(open.lease.lease_id);
    CloseGroup(open.lease, 0);
  }
}

void Actor::ScoreAndSubmit(OpenGroup& open) {
  if (absl::Status scored =
          scorer_.Score(open.lease, open.attention, open.continuations, open.judged_until, open.group);
      !scored.ok()) {
    if (absl::IsCancelled(scored)) return;
    if (!absl::IsUnavailable(scored)) return SetFatal(std::move(scored));
    TACTUS_LOG(WARNING) << "lease " << open.lease.lease_id << " dropped: " << scored.message();
    absl::MutexLock lock(&mutex_);
    ++stats_.groups_unscored;
    return;
  }
  {
    absl::MutexLock lock(&mutex_);
    submitting_[open.lease.lease_id].progress = submit_progress_ = MonotonicNow();
  }
  const absl::Status status = SubmitWithRetry(open);
  if (absl::IsCancelled(status)) return;
  int refused_in_row = 0;
  {
    absl::MutexLock lock(&mutex_);
    if (status.ok()) {
      if (open.lease.evaluation.has_value()) {
        stats_.answers_measured += open.lease.completions_wanted;
      } else {
        ++stats_.groups_submitted;
      }
      refused_in_row_ = 0;
      return;
    }
    if (absl::IsNotFound(status) || MayPass(status)) {
      ++stats_.groups_expired;
    } else {
      ++stats_.groups_refused;
      refused_in_row = ++refused_in_row_;
    }
  }
  TACTUS_LOG(WARNING) << "lease " << open.lease.lease_id << " dropped: " << status.ToString();
  if (refused_in_row >= kMaxRefusedInRow) SetFatal(status);
}

// Until the lease has ended.
absl::Status Actor::SubmitWithRetry(OpenGroup& open) {
  BackOff pauses(kFirstPause, kLongestPause, /*jitter=*/true);
  while (true) {
    open.group.times = {.sampling_s = absl::ToDoubleSeconds(open.sampled - open.began),
                        .handing_in_s = SecondsSince(open.sampled)};
    absl::Status status = port_->Submit(open.group, kSubmitTimeout);
    if (!MayPass(status)) {
      if (!absl::IsCancelled(status)) HeardLearner();
      return status;
    }
    Pause(status, "submitting a group", pauses);
    absl::MutexLock lock(&mutex_);
    if (closing_) return absl::CancelledError("the actor stops");
    Submitting& submitting = submitting_[open.lease.lease_id];
    if (submitting.ended) return status;
    submitting.progress = submit_progress_ = MonotonicNow();
    ++stats_.submit_retries;
  }
}

// ---- shared ---------------------------------------------------------------------------------------------------------

void Actor::CloseGroup(const PromptLease& lease, int unfinished_completions) {
  --open_groups_;
  open_answers_ -= lease.completions_wanted;
  unfinished_completions_ -= unfinished_completions;
  changed_.SignalAll();
}

void Actor::SetFatal(absl::Status status) {
  absl::MutexLock lock(&mutex_);
  if (fatal_.ok()) fatal_ = std::move(status);
  changed_.SignalAll();
}

void Actor::HeardLearner() {
  absl::MutexLock lock(&mutex_);
  last_contact_ = MonotonicNow();
}

void Actor::Pause(const absl::Status& status, const char* what, BackOff& pauses) {
  if (pauses.failures() % 10 == 0) {
    TACTUS_LOG(WARNING) << what << " failed (try " << pauses.failures() + 1 << "), trying again: " << status.ToString();
  }
  const absl::Duration pause = pauses.Next();
  absl::MutexLock lock(&mutex_);
  const absl::Duration silent = MonotonicNow() - last_contact_;
  if (silent > settings_.learner_timeout && fatal_.ok()) {
    fatal_ = absl::UnavailableError(absl::StrCat("no answer from the learner for ",
                                                 absl::FormatDuration(absl::Trunc(silent, absl::Seconds(1))), " while ",
                                                 what, ": ", status.message()));
    changed_.SignalAll();
  }
  const auto out = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return closing_ || !fatal_.ok(); };
  changed_.AwaitFor(&mutex_, pause, out);
}

bool Actor::closing() const {
  absl::MutexLock lock(&mutex_);
  return closing_;
}

std::string Actor::NotReady() const {
  if (stop_requested()) return "draining: asked to stop";
  if (!port_->Attached()) return "not attached to the learner";
  {
    absl::MutexLock lock(&mutex_);
    if (!held_.has_value()) return "no weights from the learner yet";
  }
  return conversations_.has_value() ? conversations_->episodes().Trouble() : scorer_.Trouble();
}

ActorStats Actor::stats() const {
  absl::MutexLock lock(&mutex_);
  ActorStats stats = stats_;
  stats.open_groups = open_groups_;
  stats.unfinished_completions = unfinished_completions_;
  stats.waiting_turns = waiting_turns_;
  return stats;
}

}  // namespace tactus
