#include "common/rollout/grpc_rollout_port.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "common/base/back_off.h"
#include "common/base/cond_var.h"
#include "common/base/log.h"
#include "common/base/monotonic_clock.h"
#include "common/base/status_macros.h"
#include "common/base/thread.h"
#include "common/rollout/grpc_channel.h"
#include "common/rollout/grpc_rollout_session.h"
#include "proto/rollout_service.grpc.pb.h"

namespace tactus {
namespace {

constexpr absl::Duration kFirstPause = absl::Milliseconds(500);
constexpr absl::Duration kLongestPause = absl::Seconds(5);

}  // namespace

// Three kinds of threads meet here, all under mu_: callers wait for their call's `done`; gRPC's threads bring messages
// in and report written ones; thread_ attaches, beats and attaches again. Whoever changes the session calls Pump.
class GrpcRolloutPort::Impl {
 public:
  Impl(const GrpcRolloutPortOptions& options, std::shared_ptr<grpc::Channel> channel)
      : options_(options),
        channel_(std::move(channel)),
        stub_(wire::RolloutService::NewStub(channel_)),
        session_(options) {}
  ~Impl() {
    Close();
    if (thread_.joinable()) thread_.join();
  }

  absl::Status Start() {
    ASSIGN_OR_RETURN(thread_, StartThread("the stream to the learner", [this] { Run(); }));
    return absl::OkStatus();
  }
  absl::Status WaitForWelcome(absl::Duration timeout);
  absl::StatusOr<std::vector<PromptLease>> Lease(int max_leases, PolicyVersion held, absl::Duration timeout);
  absl::Status Submit(const TrajectoryGroup& group, absl::Duration timeout);
  std::vector<uint64_t> Renew(std::span<const uint64_t> lease_ids) {
    absl::MutexLock lock(&mu_);
    return session_.Renew(lease_ids, MonotonicNow());
  }
  absl::StatusOr<std::optional<PolicyVersion>> AwaitVersion(std::optional<PolicyVersion> newer_than,
                                                            absl::Duration timeout);
  WeightPath NewestWeights() const {
    absl::MutexLock lock(&mu_);
    return session_.path();
  }
  bool Attached() const {
    absl::MutexLock lock(&mu_);
    return stream_ != nullptr && session_.welcomed();
  }
  bool RunFinished() const {
    absl::MutexLock lock(&mu_);
    return session_.finished();
  }
  void Close();

 private:
  // One attempt at a stream. thread_ creates it and destroys it after OnDone.
  class Stream final : public grpc::ClientBidiReactor<wire::ActorMessage, wire::LearnerMessage> {
   public:
    explicit Stream(Impl& impl) : impl_(impl) {}
    // Tells the analysis of locks that impl_.mu_ is the port's own mu_.
    void AssertHeld() const ABSL_ASSERT_EXCLUSIVE_LOCK(impl_.mu_) { impl_.mu_.AssertHeld(); }
    void Begin();
    void Pump() ABSL_EXCLUSIVE_LOCKS_REQUIRED(impl_.mu_);
    void Cancel() { context_.TryCancel(); }
    bool done() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(impl_.mu_) { return done_; }
    const grpc::Status& status() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(impl_.mu_) { return status_; }

    void OnReadDone(bool ok) override;
    void OnWriteDone(bool ok) override;
    void OnDone(const grpc::Status& status) override;

   private:
    void StopWriting() ABSL_EXCLUSIVE_LOCKS_REQUIRED(impl_.mu_);

    Impl& impl_;
    grpc::ClientContext context_;
    wire::LearnerMessage in_;
    wire::ActorMessage out_;
    bool writing_ ABSL_GUARDED_BY(impl_.mu_) = false;
    // While held, writes may start outside reactions; OnDone comes only after it is given up.
    bool hold_ ABSL_GUARDED_BY(impl_.mu_) = true;
    bool done_ ABSL_GUARDED_BY(impl_.mu_) = false;
    grpc::Status status_ ABSL_GUARDED_BY(impl_.mu_);
  };

  void Run();
  // Attaches once and returns when the stream is over. True when it had been welcomed.
  bool RunStream();
  void NoteEnd(const grpc::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool Over() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return closed_ || !fatal_.ok() || session_.finished(); }
  // Waits until `done`, which is called under mu_, or the port is over: true. False: neither within `timeout`.
  bool WaitFor(absl::Duration timeout, absl::FunctionRef<bool()> done) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return changed_.AwaitFor(&mu_, timeout, [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return done() || Over(); });
  }
  absl::Status WhyNotDone(absl::string_view what) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Pump() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (stream_ == nullptr) return;
    stream_->AssertHeld();
    stream_->Pump();
  }

  const GrpcRolloutPortOptions options_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<wire::RolloutService::Stub> stub_;

  mutable absl::Mutex mu_;
  CondVar changed_;
  RolloutSession session_ ABSL_GUARDED_BY(mu_);
  Stream* stream_ ABSL_GUARDED_BY(mu_) = nullptr;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status fatal_ ABSL_GUARDED_BY(mu_);
  absl::Status last_error_ ABSL_GUARDED_BY(mu_) = absl::UnavailableError("not tried yet");
  std::thread thread_;
};

void GrpcRolloutPort::Impl::Stream::Begin() {
  impl_.stub_->async()->Attach(&context_, this);
  AddHold();
  StartRead(&in_);
  StartCall();
  absl::MutexLock lock(&impl_.mu_);
  Pump();
}

void GrpcRolloutPort::Impl::Stream::Pump() {
  if (writing_ || !hold_) return;
  std::optional<wire::ActorMessage> message = impl_.session_.Next(MonotonicNow());
  if (!message.has_value()) return;
  out_ = *std::move(message);
  writing_ = true;
  StartWrite(&out_);
}

void GrpcRolloutPort::Impl::Stream::StopWriting() {
  if (!hold_) return;
  hold_ = false;
  RemoveHold();
}

void GrpcRolloutPort::Impl::Stream::OnReadDone(bool ok) {
  absl::MutexLock lock(&impl_.mu_);
  if (!ok) {
    StopWriting();
    return;
  }
  const absl::Status status = impl_.session_.Handle(in_, MonotonicNow());
  if (!status.ok()) {
    impl_.fatal_ = status;
    context_.TryCancel();
  }
  impl_.changed_.SignalAll();
  Pump();
  StartRead(&in_);
}

void GrpcRolloutPort::Impl::Stream::OnWriteDone(bool ok) {
  absl::MutexLock lock(&impl_.mu_);
  writing_ = false;
  if (ok) {
    Pump();
  } else {
    StopWriting();
  }
}

void GrpcRolloutPort::Impl::Stream::OnDone(const grpc::Status& status) {
  absl::MutexLock lock(&impl_.mu_);
  status_ = status;
  done_ = true;
  impl_.changed_.SignalAll();
}

void GrpcRolloutPort::Impl::Run() {
  BackOff pauses(kFirstPause, kLongestPause, /*jitter=*/true);
  while (true) {
    if (RunStream()) pauses.Reset();
    absl::MutexLock lock(&mu_);
    if (WaitFor(pauses.Next(), [] { return false; })) return;
  }
}

bool GrpcRolloutPort::Impl::RunStream() {
  Stream stream(*this);
  {
    absl::MutexLock lock(&mu_);
    if (Over()) return false;
    session_.Attach();
    stream_ = &stream;
  }
  ConnectAgain(*channel_);
  stream.Begin();
  absl::MutexLock lock(&mu_);
  stream.AssertHeld();
  absl::Time last_beat = MonotonicNow();
  while (!stream.done()) {
    if (closed_) stream.Cancel();
    changed_.WaitFor(&mu_, last_beat + session_.HeartbeatInterval() - MonotonicNow());
    if (MonotonicNow() < last_beat + session_.HeartbeatInterval()) continue;
    session_.RequestHeartbeat();
    stream.Pump();
    last_beat = MonotonicNow();
  }
  const bool welcomed = session_.welcomed();
  stream_ = nullptr;
  session_.Detach();
  NoteEnd(stream.status());
  changed_.SignalAll();
  return welcomed;
}

void GrpcRolloutPort::Impl::NoteEnd(const grpc::Status& status) {
  if (closed_ || !fatal_.ok() || session_.finished()) return;
  last_error_ = status.ok() ? absl::UnavailableError("the learner ended the stream") : FromGrpc(status);
  if (status.error_code() == grpc::StatusCode::PERMISSION_DENIED) {
    fatal_ = last_error_;
  } else if (status.error_code() == grpc::StatusCode::INVALID_ARGUMENT) {
    fatal_ = absl::InternalError(absl::StrCat("the learner ended the stream: ", status.error_message()));
  }
  TACTUS_LOG(WARNING) << "lost the stream to the learner at " << options_.address.Text() << ": "
                      << last_error_.message();
}

absl::Status GrpcRolloutPort::Impl::WhyNotDone(absl::string_view what) const {
  if (!fatal_.ok()) return fatal_;
  if (closed_) return absl::CancelledError(absl::StrCat(what, ": the port was closed"));
  if (session_.finished()) return absl::CancelledError(absl::StrCat(what, ": the run has finished"));
  if (session_.welcomed()) return absl::DeadlineExceededError(absl::StrCat(what, ": the learner has not answered"));
  return absl::UnavailableError(
      absl::StrCat(what, ": no stream to the learner at ", options_.address.Text(), ": ", last_error_.message()));
}

absl::Status GrpcRolloutPort::Impl::WaitForWelcome(absl::Duration timeout) {
  absl::MutexLock lock(&mu_);
  WaitFor(timeout, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return session_.welcomed(); });
  if (session_.welcomed() || session_.finished()) return absl::OkStatus();
  return WhyNotDone("cannot attach");
}

absl::StatusOr<std::optional<PolicyVersion>> GrpcRolloutPort::Impl::AwaitVersion(
    std::optional<PolicyVersion> newer_than, absl::Duration timeout) {
  absl::MutexLock lock(&mu_);
  const auto newer = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return session_.latest_version() > newer_than; };
  changed_.AwaitFor(&mu_, timeout, [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return newer() || closed_; });
  if (closed_) return absl::CancelledError("weights: the port was closed");
  return newer() ? session_.latest_version() : std::nullopt;
}

absl::StatusOr<std::vector<PromptLease>> GrpcRolloutPort::Impl::Lease(int max_leases, PolicyVersion held,
                                                                      absl::Duration timeout) {
  if (max_leases < 1) return absl::InvalidArgumentError(absl::StrCat("max_leases is ", max_leases, "; expected >= 1"));
  const absl::Time deadline = MonotonicNow() + timeout;
  absl::MutexLock lock(&mu_);
  std::vector<PromptLease> spare = session_.TakeSpare(max_leases, MonotonicNow());
  if (!spare.empty()) return spare;
  const uint64_t id = session_.AddLease(max_leases, held, deadline);
  RolloutSession::LeaseCall& call = session_.lease(id);
  Pump();
  WaitFor(deadline - MonotonicNow(), [&call] { return call.done; });
  RolloutSession::LeaseCall result = std::move(call);
  session_.ForgetLease(id);
  if (result.done && !result.status.ok()) return result.status;
  if (result.done) return std::move(result.leases);
  if (session_.finished()) return std::vector<PromptLease>{};
  const absl::Status why = WhyNotDone("lease");
  if (absl::IsDeadlineExceeded(why)) return std::vector<PromptLease>{};
  return why;
}

absl::Status GrpcRolloutPort::Impl::Submit(const TrajectoryGroup& group, absl::Duration timeout) {
  const absl::Time deadline = MonotonicNow() + timeout;
  std::string bytes = EncodeGroup(group);
  absl::MutexLock lock(&mu_);
  if (bytes.size() > session_.max_group_bytes()) {
    return absl::InvalidArgumentError(absl::StrCat("group of prompt ", group.prompt_id, " has ", bytes.size(),
                                                   " bytes; the learner takes at most ", session_.max_group_bytes()));
  }
  const uint64_t id = session_.AddSubmit(std::move(bytes), group.lease_id);
  const RolloutSession::SubmitCall& call = session_.submit(id);
  Pump();
  WaitFor(deadline - MonotonicNow(), [&call] { return call.done; });
  const absl::Status status = call.done ? call.status : WhyNotDone("submit");
  session_.ForgetSubmit(id);
  return status;
}

void GrpcRolloutPort::Impl::Close() {
  absl::MutexLock lock(&mu_);
  closed_ = true;
  if (stream_ != nullptr) stream_->Cancel();
  changed_.SignalAll();
}

GrpcRolloutPort::GrpcRolloutPort(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
GrpcRolloutPort::~GrpcRolloutPort() = default;

absl::StatusOr<std::unique_ptr<GrpcRolloutPort>> GrpcRolloutPort::Connect(const GrpcRolloutPortOptions& options,
                                                                          absl::Duration timeout) {
  ASSIGN_OR_RETURN(std::shared_ptr<grpc::Channel> channel, OpenChannel(options.address, options.security));
  auto port = absl::WrapUnique(new GrpcRolloutPort(std::make_unique<Impl>(options, std::move(channel))));
  RETURN_IF_ERROR(port->impl_->Start());
  RETURN_IF_ERROR(port->impl_->WaitForWelcome(timeout));
  return port;
}

absl::StatusOr<std::vector<PromptLease>> GrpcRolloutPort::Lease(int max_leases, PolicyVersion held,
                                                                absl::Duration timeout) {
  return impl_->Lease(max_leases, held, timeout);
}
absl::Status GrpcRolloutPort::Submit(const TrajectoryGroup& group, absl::Duration timeout) {
  return impl_->Submit(group, timeout);
}
absl::StatusOr<std::optional<PolicyVersion>> GrpcRolloutPort::AwaitVersion(std::optional<PolicyVersion> newer_than,
                                                                           absl::Duration timeout) {
  return impl_->AwaitVersion(newer_than, timeout);
}
std::vector<uint64_t> GrpcRolloutPort::Renew(std::span<const uint64_t> lease_ids) { return impl_->Renew(lease_ids); }
WeightPath GrpcRolloutPort::NewestWeights() const { return impl_->NewestWeights(); }
bool GrpcRolloutPort::Attached() const { return impl_->Attached(); }
bool GrpcRolloutPort::RunFinished() const { return impl_->RunFinished(); }
void GrpcRolloutPort::Close() { impl_->Close(); }

}  // namespace tactus
