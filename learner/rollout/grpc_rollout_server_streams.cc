// What actors' messages do, and the thread that takes groups in.
#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/host_port.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/rollout/certificate_metrics.h"
#include "common/rollout/grpc_rollout_session.h"
#include "learner/rollout/grpc_rollout_server_impl.h"

namespace tactus {
namespace {

constexpr size_t kMaxStreams = 4096;
constexpr size_t kMaxActorIdBytes = 128;
constexpr size_t kMaxAddressBytes = 256;
constexpr double kMaxLeaseWaitS = 60;
constexpr uint32_t kSubmitCredits = 4;
constexpr absl::Duration kTick = absl::Milliseconds(200);

bool IsActorId(absl::string_view id) {
  return !id.empty() && id.size() <= kMaxActorIdBytes && std::all_of(id.begin(), id.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
           absl::string_view("._:-").find(c) != absl::string_view::npos;
  });
}

// What others are told to dial must be an address, and not one that means themselves.
absl::Status CheckRelay(const wire::Hello& hello) {
  if (!hello.zone().empty() && !IsActorId(hello.zone())) {
    return absl::InvalidArgumentError(
        absl::StrCat("hello.zone must be 1 to ", kMaxActorIdBytes, " of A-Z a-z 0-9 . _ : -"));
  }
  if (hello.relay_address().empty()) return absl::OkStatus();
  if (hello.relay_address().size() > kMaxAddressBytes) {
    return absl::InvalidArgumentError(absl::StrCat("hello.relay_address has more than ", kMaxAddressBytes, " bytes"));
  }
  ASSIGN_OR_RETURN(const HostPort address, HostPort::Parse(hello.relay_address(), "hello.relay_address"));
  if (address.port > 0 && address.Dialable() == address) return absl::OkStatus();
  return absl::InvalidArgumentError("hello.relay_address has no port, or the host that means every address");
}

void LogDropped(const std::vector<EndedLease>& leases) {
  for (const EndedLease& lease : leases) {
    if (!lease.dropped) continue;
    TACTUS_LOG(WARNING) << "prompt " << lease.prompt_id << " is dropped after " << lease.failures
                        << " leases without an answer, the last to " << lease.actor_id
                        << "; the next prompt of the data takes its place";
  }
}

}  // namespace

grpc::ServerBidiReactor<wire::ActorMessage, wire::LearnerMessage>* RolloutServer::Impl::Attach(
    grpc::CallbackServerContext* context) {
  absl::MutexLock lock(&mu_);
  auto* stream = new RolloutStream(*this, context, next_stream_id_++, max_group_bytes_, kSubmitCredits);
  streams_[stream->id()] = stream;
  if (finishing_) {
    stream->Close(absl::UnavailableError("the learner is stopping"));
  } else if (streams_.size() > kMaxStreams) {
    CountRefused("too_many");
    stream->Close(absl::ResourceExhaustedError(absl::StrCat("the learner serves at most ", kMaxStreams, " actors")));
  } else {
    stream->Begin();
  }
  return stream;
}

RolloutStream* RolloutServer::Impl::FindStream(uint64_t id) const {
  const auto stream = streams_.find(id);
  return stream == streams_.end() ? nullptr : stream->second;
}

void RolloutServer::Impl::CountRefused(absl::string_view reason) const {
  if (options_.metrics != nullptr) options_.metrics->Add(Metric::kStreamsRefused, 1, reason);
}

absl::Status RolloutServer::Impl::CheckHello(const wire::Hello& hello) const {
  if (!IsActorId(hello.actor_id())) {
    return absl::InvalidArgumentError(
        absl::StrCat("hello.actor_id must be 1 to ", kMaxActorIdBytes, " of A-Z a-z 0-9 . _ : -"));
  }
  if (hello.protocol_version() != kRolloutProtocolVersion) {
    CountRefused("wrong_protocol");
    return absl::PermissionDeniedError(absl::StrCat("this actor speaks protocol ", hello.protocol_version(),
                                                    " and the learner ", kRolloutProtocolVersion,
                                                    ": use the same release for both"));
  }
  if (hello.run_id() != options_.run_id) {
    CountRefused("wrong_run");
    return absl::PermissionDeniedError(absl::StrCat("this actor belongs to run \"", hello.run_id().substr(0, 128),
                                                    "\" and the learner to run \"", options_.run_id,
                                                    "\": check service.run_id"));
  }
  if (hello.config_fingerprint() != options_.config_fingerprint) {
    CountRefused("wrong_configuration");
    return absl::PermissionDeniedError(
        "this actor's configuration differs from the learner's: start both from one file");
  }
  return absl::OkStatus();
}

absl::Status RolloutServer::Impl::OnHello(RolloutStream& stream, const wire::Hello& hello) {
  mu_.AssertHeld();
  RETURN_IF_ERROR(CheckHello(hello));
  RETURN_IF_ERROR(CheckRelay(hello));
  if (const std::optional<uint64_t> old = actors_.Attach(hello.actor_id(), stream.id()); old.has_value()) {
    if (refusals_log_.Allow(Now())) {
      TACTUS_LOG(WARNING) << hello.actor_id() << " attached again from " << stream.peer()
                          << ": its older stream is ended; are there two actors of that name?"
                          << refusals_log_.LeftOut();
    }
    streams_.at(*old)->Abort();
  }
  actors_.SetRelay(hello.actor_id(), hello.relay_address(), hello.zone());
  const std::vector<uint64_t> held(hello.held_lease_ids().begin(), hello.held_lease_ids().end());
  const std::vector<EndedLease> returned = ledger_.ReturnLeases(hello.actor_id(), held);
  const size_t held_out = board_.ReturnLeases(hello.actor_id(), held, Now()).size();
  LogDropped(returned);
  if (attach_log_.Allow(Now())) {
    TACTUS_LOG(INFO) << hello.actor_id() << " attached from " << stream.peer() << " with " << held.size()
                     << " leases under way; " << returned.size() + held_out << " return to the queue"
                     << attach_log_.LeftOut();
  }
  wire::LearnerMessage message;
  wire::Welcome& welcome = *message.mutable_welcome();
  *welcome.mutable_latest() = ToWire(ledger_.published());
  welcome.set_submit_credits(kSubmitCredits);
  welcome.set_max_group_bytes(max_group_bytes_);
  *welcome.mutable_path() = PathOf(hello.actor_id(), Relays());
  for (const uint64_t ended : Renew(hello.actor_id(), held, Now())) welcome.add_ended_lease_ids(ended);
  stream.Send(std::move(message));
  PumpLeases(Now());
  return absl::OkStatus();
}

absl::Status RolloutServer::Impl::OnLeaseRequest(RolloutStream& stream, const wire::LeaseRequest& request) {
  mu_.AssertHeld();
  if (request.max_leases() < 1 || !(request.timeout_s() >= 0)) {
    return absl::InvalidArgumentError("lease_request needs max_leases >= 1 and timeout_s >= 0");
  }
  const absl::Duration now = Now();
  const auto most = static_cast<uint32_t>(leases_per_reply_);
  RETURN_IF_ERROR(actors_.Add({.actor_id = stream.actor_id(),
                               .stream_id = stream.id(),
                               .request_id = request.request_id(),
                               .max_leases = static_cast<int>(std::min(request.max_leases(), most)),
                               .held = FromWire(request.held()),
                               .deadline = now + absl::Seconds(std::min(request.timeout_s(), kMaxLeaseWaitS))}));
  PumpLeases(now);
  return absl::OkStatus();
}

void RolloutServer::Impl::OnHeartbeat(RolloutStream& stream, const wire::Heartbeat& heartbeat) {
  mu_.AssertHeld();
  const std::vector<uint64_t> working(heartbeat.working_lease_ids().begin(), heartbeat.working_lease_ids().end());
  const std::vector<uint64_t> ended = Renew(stream.actor_id(), working, Now());
  if (ended.empty()) return;
  wire::LearnerMessage message;
  message.mutable_leases_ended()->mutable_lease_ids()->Add(ended.begin(), ended.end());
  stream.Send(std::move(message));
}

std::vector<uint64_t> RolloutServer::Impl::Renew(const std::string& actor_id, const std::vector<uint64_t>& lease_ids,
                                                 absl::Duration now) {
  std::vector<uint64_t> ids = lease_ids;
  const auto held_out = std::partition(ids.begin(), ids.end(), [](uint64_t id) { return !IsEvaluation(id); });
  std::vector<uint64_t> ended = ledger_.Renew(actor_id, std::span(ids.begin(), held_out), now);
  const std::vector<uint64_t> of_board = board_.Renew(actor_id, std::span(held_out, ids.end()), now);
  ended.insert(ended.end(), of_board.begin(), of_board.end());
  return ended;
}

void RolloutServer::Impl::OnGroup(RolloutStream& stream, uint64_t sequence, std::vector<std::string> pieces) {
  mu_.AssertHeld();
  submissions_.push_back({stream.actor_id(), stream.id(), sequence, std::move(pieces), Now()});
  changed_.SignalAll();
}

void RolloutServer::Impl::OnViolation(RolloutStream& stream, const absl::Status& status) {
  mu_.AssertHeld();
  ++violations_;
  if (!absl::IsPermissionDenied(status)) CountRefused("violation");  // else CheckHello has said which kind
  if (!refusals_log_.Allow(Now())) return;
  TACTUS_LOG(WARNING) << "ending the stream of " << (stream.actor_id().empty() ? "an actor" : stream.actor_id())
                      << " at " << stream.peer() << ": " << status.message() << refusals_log_.LeftOut();
}

void RolloutServer::Impl::RefuseRole(absl::string_view why) {
  CountRefused("wrong_role");
  absl::MutexLock lock(&mu_);
  if (refusals_log_.Allow(Now())) TACTUS_LOG(WARNING) << "refused a call: " << why << refusals_log_.LeftOut();
}

void RolloutServer::Impl::OnClosed(RolloutStream& stream) {
  mu_.AssertHeld();
  streams_.erase(stream.id());
  if (const std::string& id = stream.actor_id(); actors_.Detach(id, stream.id(), Now()) && attach_log_.Allow(Now())) {
    TACTUS_LOG(INFO) << id << " is gone, with " << ledger_.LeasesOf(id) + board_.LeasesOf(id) << " leases under way"
                     << attach_log_.LeftOut();
  }
  changed_.SignalAll();
}

void RolloutServer::Impl::Reply(const LeaseRequest& request, const absl::StatusOr<std::vector<PromptLease>>& leases) {
  wire::LearnerMessage message;
  wire::LeaseReply& reply = *message.mutable_lease_reply();
  reply.set_request_id(request.request_id);
  if (leases.ok()) {
    for (const PromptLease& lease : *leases) *reply.add_leases() = ToWire(lease);
  } else if (!absl::IsResourceExhausted(leases.status())) {  // else its time is over: OK, with no leases
    reply.set_code(static_cast<int32_t>(leases.status().code()));
    reply.set_message(std::string(leases.status().message()));
  }
  streams_.at(request.stream_id)->Send(std::move(message));
}

void RolloutServer::Impl::PumpLeases(absl::Duration now) {
  std::vector<LeaseRequest> put_off;  // the prompts that wait are not for their actors now
  while (std::optional<LeaseRequest> due =
             actors_.TakeDue(board_.PromptsWait() || ledger_.PromptsWait(now), ledger_.OldestLeasable(), now)) {
    const std::optional<int> left = LeasesLeft(*due);
    if (!left.has_value()) continue;
    const auto leases = Grant(*due, std::min(due->max_leases, *left), now);
    if (absl::IsResourceExhausted(leases.status()) && due->deadline > now) {
      put_off.push_back(*std::move(due));
    } else {
      Reply(*due, leases);
    }
  }
  for (LeaseRequest& request : put_off) actors_.Add(std::move(request)).IgnoreError();  // its stream was there just now
}

absl::StatusOr<std::vector<PromptLease>> RolloutServer::Impl::Grant(const LeaseRequest& request, int most,
                                                                    absl::Duration now) {
  const int as_many = most * options_.ledger.completions_per_prompt / std::max(1, options_.evaluation_samples);
  std::vector<PromptLease> held_out =
      board_.Lease(request.actor_id, std::clamp(as_many, 1, leases_per_reply_), request.held, now);
  if (!held_out.empty()) return held_out;
  absl::StatusOr<std::vector<PromptLease>> leases = ledger_.Lease(request.actor_id, most, request.held, now);
  // Whoever holds the version that is measured is not sent away for newer weights before the round is over: prompts may
  // come back, of an actor that is lost.
  if (absl::IsFailedPrecondition(leases.status()) && board_.Measures(request.held)) {
    return absl::ResourceExhaustedError("held-out prompts may come back");
  }
  return leases;
}

std::optional<int> RolloutServer::Impl::LeasesLeft(const LeaseRequest& request) {
  if (options_.max_leases_per_actor == 0) return request.max_leases;
  const int held_out = board_.AnswersAwaitedOf(request.actor_id) / options_.ledger.completions_per_prompt;
  const int held = ledger_.LeasesOf(request.actor_id) + held_out;
  if (held < options_.max_leases_per_actor) return options_.max_leases_per_actor - held;
  RolloutStream& stream = *streams_.at(request.stream_id);
  const absl::Status status =
      absl::InvalidArgumentError(absl::StrCat("holds ", held, " leases and asks for more; expected at most ",
                                              options_.max_leases_per_actor, ", by the learner's actor.max_leases"));
  OnViolation(stream, status);
  stream.Close(status);
  return std::nullopt;
}

void RolloutServer::Impl::Tick(absl::Duration now) {
  const std::vector<EndedLease> expired = ledger_.Expire(now);
  for (const EndedLease& lease : expired) {
    TACTUS_LOG(WARNING) << "the lease of prompt " << lease.prompt_id << " to " << lease.actor_id << " expired after "
                        << absl::ToInt64Seconds(now - lease.leased_at) << " s";
  }
  const bool measuring = board_.open();
  for (const LeaseInfo& lease : board_.Expire(now)) {
    TACTUS_LOG(WARNING) << "the lease of held-out prompt " << lease.prompt_id << " to " << lease.actor_id << " expired";
  }
  LogDropped(expired);
  for (const std::string& id : actors_.TakeForgotten(now)) {
    const std::vector<EndedLease> returned = ledger_.ReturnLeases(id, {});
    const size_t held_out = board_.ReturnLeases(id, {}, now).size();
    TACTUS_LOG(INFO) << id << " did not come back; " << returned.size() + held_out << " leases return to the queue";
    LogDropped(returned);
  }
  if (measuring && !board_.open()) changed_.SignalAll();  // it was given up
  for (const auto& [id, stream] : streams_) stream->AbortIfStuck(now);
  PumpLeases(now);
  ingest_.AssertHeld();
  IngestView ingest{.actors = actors_.attached(), .nonfinite_groups = ingest_.nonfinite_groups()};
  for (const Submission& submission : submissions_) {
    for (const std::string& piece : submission.pieces) ingest.waiting_bytes += static_cast<int64_t>(piece.size());
  }
  ledger_metrics_.Update(ledger_, ingest);
}

void RolloutServer::Impl::RunIngest() {
  absl::Duration next_tick = Now();
  CertificateMetrics certificates(options_.security);
  while (true) {
    std::vector<Submission> batch;
    {
      absl::MutexLock lock(&mu_);
      while (submissions_.empty() && !stopped_ && Now() < next_tick) changed_.WaitFor(&mu_, next_tick - Now());
      if (stopped_) return;  // what is left was not acknowledged
      batch.swap(submissions_);
      if (Now() >= next_tick) {
        Tick(Now());
        next_tick = Now() + kTick;
      }
    }
    if (!batch.empty()) {
      ingest_.Process(batch);
      changed_.SignalAll();
    }
    if (options_.metrics != nullptr) certificates.Update(*options_.metrics);
  }
}

void RolloutServer::Impl::Acknowledge(const Submission& submission, const absl::Status& status) {
  RolloutStream* stream = FindStream(submission.stream_id);
  if (stream == nullptr) return;
  stream->SendSubmitReply(submission.sequence, status);
  if (options_.metrics != nullptr) {
    options_.metrics->Observe(Metric::kIngestAckDuration, absl::ToDoubleSeconds(Now() - submission.arrived));
  }
}

}  // namespace tactus
