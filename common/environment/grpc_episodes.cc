#include "common/environment/grpc_episodes.h"

#include <grpcpp/grpcpp.h>

#include <deque>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/monotonic_clock.h"
#include "common/base/status_macros.h"
#include "common/environment/grpc_environment_client.h"
#include "common/rollout/grpc_channel.h"
#include "proto/environment_service.grpc.pb.h"

namespace tactus {
namespace {

namespace v1 = environment::v1;

constexpr absl::Duration kFirstPause = absl::Milliseconds(100);
constexpr absl::Duration kLongestPause = absl::Seconds(1);

}  // namespace

// One stream. Deletes itself at its end. Its fields are guarded by the owner's mu_, but for `in_`, which is the reading
// reaction's.
class Episodes::Call final : public grpc::ClientBidiReactor<v1::ConverseRequest, v1::ConverseReply> {
 public:
  Call(Episodes& owner, EpisodeId id) : owner_(owner), id_(id) {}

  void Begin(v1::EnvironmentService::Stub& stub) {
    stub.async()->Converse(&context_, this);
    AddHold();  // writes start outside of reactions while an episode has the call
    StartRead(&in_);
    StartCall();
  }
  void Write(v1::ConverseRequest request) {
    if (broken_) return;
    out_.push_back(std::move(request));
    Pump();
  }
  void FinishWriting() {
    finished_ = true;
    Pump();
  }
  // No further Write.
  void Release() {
    attached_ = false;
    if (!broken_) RemoveHold();
  }
  void Cancel() { context_.TryCancel(); }
  void ReadOn() { StartRead(&in_); }

  EpisodeId id() const { return id_; }
  bool attached() const { return attached_; }
  const v1::ConverseReply& in() const { return in_; }

  void OnReadDone(bool ok) override {
    if (ok) return owner_.Received(*this);
    absl::MutexLock lock(&owner_.mu_);
    broken_ = true;
    if (attached_) RemoveHold();  // OnDone, which tells why, comes only without it
  }
  void OnWriteDone(bool ok) override {
    absl::MutexLock lock(&owner_.mu_);
    writing_ = false;
    out_.pop_front();
    if (ok) {
      Pump();
    } else {
      out_.clear();  // the end is coming
    }
  }
  void OnDone(const grpc::Status& status) override {
    Episodes& owner = owner_;
    owner.Ended(*this, status);
    delete this;
    owner.LetGo();
  }

 private:
  void Pump() {
    if (writing_) return;
    if (!out_.empty()) {
      writing_ = true;
      StartWrite(&out_.front());
    } else if (std::exchange(finished_, false)) {
      StartWritesDone();
    }
  }

  Episodes& owner_;
  const EpisodeId id_;
  grpc::ClientContext context_;
  v1::ConverseReply in_;
  std::deque<v1::ConverseRequest> out_;  // the first is being written
  bool writing_ = false;
  bool finished_ = false;
  bool attached_ = true;  // to its episode
  bool broken_ = false;   // nothing can be read any more
};

struct Episodes::Episode {
  v1::ConverseRequest opening;
  v1::ConverseRequest said;  // the newest turn, or stop
  bool must_end = false;     // `said` leaves the environment no other answer than done
  bool awaiting = false;     // a reply to `said`
  bool replied = false;      // once
  absl::Duration patience;
  absl::Time asked;                                 // when `said` was sent
  absl::Time begin_until = absl::InfiniteFuture();  // known once it was sent the first time
  absl::Time not_before = absl::InfinitePast();     // of the next call
  BackOff pauses{kFirstPause, kLongestPause, /*jitter=*/true};
  Call* call = nullptr;
};

absl::StatusOr<std::unique_ptr<Episodes>> Episodes::Create(const HostPort& address, const ChannelSecurity& security,
                                                           const Options& options) {
  ASSIGN_OR_RETURN(std::shared_ptr<grpc::Channel> channel, OpenEnvironmentChannel(address, security));
  return std::unique_ptr<Episodes>(new Episodes(address.Text(), std::move(channel), options));
}

Episodes::Episodes(std::string address, std::shared_ptr<grpc::Channel> channel, const Options& options)
    : address_(std::move(address)), channel_(std::move(channel)), options_(options) {}

Episodes::~Episodes() { Close(); }

void Episodes::Begin(EpisodeId id, const EpisodeOpening& opening, absl::Duration patience) {
  absl::MutexLock lock(&mu_);
  if (closed_) return;
  Episode& episode = episodes_[id];
  episode.opening = ToWire(opening);
  episode.patience = patience;
}

void Episodes::Say(EpisodeId id, const EpisodeTurn& turn) {
  absl::MutexLock lock(&mu_);
  const auto found = episodes_.find(id);
  if (found == episodes_.end()) return;
  found->second.said = ToWire(turn);
  found->second.must_end = turn.last != EpisodeLimit::kNone;
  Ask(id, found->second);
}

void Episodes::Stop(EpisodeId id, EpisodeLimit limit) {
  absl::MutexLock lock(&mu_);
  const auto found = episodes_.find(id);
  if (found == episodes_.end()) return;
  found->second.said = ToWire(limit);
  found->second.must_end = true;
  Ask(id, found->second);
}

void Episodes::Ask(EpisodeId id, Episode& episode) {
  episode.awaiting = true;
  if (episode.call == nullptr) {
    if (calls_.size() < static_cast<size_t>(options_.calls_at_once)) StartCall(id, episode);
    return;
  }
  episode.asked = MonotonicNow();
  episode.call->Write(episode.said);
}

void Episodes::StartCall(EpisodeId id, Episode& episode) {
  episode.asked = MonotonicNow();
  if (episode.begin_until == absl::InfiniteFuture()) episode.begin_until = episode.asked + episode.patience;
  episode.call = new Call(*this, id);  // deletes itself
  calls_.insert(episode.call);
  const auto stub = v1::EnvironmentService::NewStub(channel_);
  episode.call->Begin(*stub);
  episode.call->Write(episode.opening);
  episode.call->Write(episode.said);
}

void Episodes::Detach(Episode& episode, bool cancel) {
  Call* const call = std::exchange(episode.call, nullptr);
  if (call == nullptr) return;
  if (cancel) call->Cancel();
  call->Release();
}

void Episodes::Forget(EpisodeId id) {
  absl::MutexLock lock(&mu_);
  const auto found = episodes_.find(id);
  if (found != episodes_.end()) {
    Detach(found->second, /*cancel=*/true);
    episodes_.erase(found);
  }
  std::erase_if(events_, [id](const Event& event) { return event.id == id; });
}

void Episodes::Count(const Episode& episode, const absl::Status& status) {
  if (options_.metrics != nullptr) {
    options_.metrics->Observe(Metric::kEnvironmentCallDuration, SecondsSince(episode.asked));
    options_.metrics->Add(Metric::kEnvironmentCalls, 1, OutcomeName(status));
  }
  if (!status.ok() && log_.Allow(MonotonicNow() - absl::UnixEpoch())) {
    TACTUS_LOG(WARNING) << status.message() << log_.LeftOut();
  } else if (status.ok() && !trouble_.empty()) {
    TACTUS_LOG(INFO) << "environment " << address_ << " converses again";
  }
  trouble_ = status.ok() ? "" : std::string(status.message());
}

void Episodes::Fail(EpisodeId id, absl::Status why) {
  const auto found = episodes_.find(id);
  Episode& episode = found->second;
  Count(episode, why);
  Detach(episode, /*cancel=*/true);
  const absl::Time now = MonotonicNow();
  if (episode.awaiting && !episode.replied && now < episode.begin_until) {
    episode.not_before = now + episode.pauses.Next();
    return;
  }
  episodes_.erase(found);
  events_.push_back({id, std::move(why)});
}

std::vector<Episodes::Event> Episodes::Poll() {
  absl::MutexLock lock(&mu_);
  const absl::Time now = MonotonicNow();
  std::erase_if(endings_, [&](const Ending& ending) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (now > ending.deadline) ending.call->Cancel();
    return now > ending.deadline;
  });
  std::vector<EpisodeId> late;
  for (auto& [id, episode] : episodes_) {
    if (!episode.awaiting) continue;
    if (episode.call != nullptr && now > episode.asked + options_.reply_timeout) late.push_back(id);
    if (episode.call == nullptr && now >= episode.not_before && !closed_ &&
        calls_.size() < static_cast<size_t>(options_.calls_at_once)) {
      StartCall(id, episode);
    }
  }
  for (const EpisodeId id : late) {
    Fail(id, EnvironmentError(address_, "Converse", options_.reply_timeout,
                              {grpc::StatusCode::DEADLINE_EXCEEDED, "no reply to a turn"}));
  }
  return std::exchange(events_, {});
}

void Episodes::Received(Call& call) {
  {
    absl::MutexLock lock(&mu_);
    if (!call.attached()) return;  // and nothing is read any more: its end comes by itself
    const EpisodeId id = call.id();
    Episode& episode = episodes_.find(id)->second;
    absl::StatusOr<EpisodeReply> reply = absl::InvalidArgumentError("it came before a turn, expected one to each");
    if (episode.awaiting) reply = FromWire(call.in(), episode.must_end);
    if (!reply.ok()) {
      Fail(id, BadEnvironmentReply(address_, "Converse", reply.status()));
    } else {
      Count(episode, absl::OkStatus());
      episode.awaiting = false;
      episode.replied = true;
      const bool done = reply->done;
      events_.push_back({id, std::move(reply)});
      call.ReadOn();
      if (done) {
        call.FinishWriting();
        endings_.push_back({&call, MonotonicNow() + options_.reply_timeout});
        Detach(episode, /*cancel=*/false);
        episodes_.erase(id);
      }
    }
  }
  notify_();
}

void Episodes::Ended(Call& call, const grpc::Status& status) {
  {
    absl::MutexLock lock(&mu_);
    std::erase_if(endings_, [&](const Ending& ending) { return ending.call == &call; });
    if (call.attached()) {
      const absl::Status why =
          status.ok() ? BadEnvironmentReply(address_, "Converse",
                                            absl::InvalidArgumentError("the call ended before a reply with done"))
                      : EnvironmentError(address_, "Converse", options_.reply_timeout, status);
      Fail(call.id(), why);
    }
    calls_.erase(&call);
    ++leaving_;
  }
  notify_();
}

void Episodes::LetGo() {
  absl::MutexLock lock(&mu_);
  --leaving_;
  changed_.SignalAll();
}

std::string Episodes::Trouble() const {
  absl::MutexLock lock(&mu_);
  return trouble_;
}

void Episodes::Close() {
  constexpr absl::Duration kLogEvery = absl::Seconds(10);
  absl::MutexLock lock(&mu_);
  closed_ = true;
  for (auto& [id, episode] : episodes_) Detach(episode, /*cancel=*/true);
  for (Call* const call : calls_) call->Cancel();
  episodes_.clear();
  events_.clear();
  const auto none = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return calls_.empty() && leaving_ == 0; };
  while (!changed_.AwaitFor(&mu_, kLogEvery, none)) {
    TACTUS_LOG(WARNING) << "waiting for the end of " << calls_.size() + leaving_ << " cancelled calls of environment "
                        << address_;
  }
}

}  // namespace tactus
