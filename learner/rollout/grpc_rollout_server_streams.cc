// What actors' messages do, and the thread that takes groups in.
#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/rollout/certificate_metrics.h"
#include "common/rollout/grpc_rollout_session.h"
#include "learner/rollout/grpc_rollout_server_impl.h"

namespace tactus {
namespace {

constexpr size_t kMaxStreams = 4096;
constexpr size_t kMaxActorIdBytes = 128;
constexpr int kMaxPendingLeasesPerStream = 16;
constexpr double kMaxLeaseWaitS = 60;
constexpr uint32_t kSubmitCredits = 4;
constexpr absl::Duration kTick = absl::Milliseconds(200);

bool IsActorId(absl::string_view id) {
  return !id.empty() && id.size() <= kMaxActorIdBytes && std::all_of(id.begin(), id.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
           absl::string_view("._:-").find(c) != absl::string_view::npos;
  });
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
  RETURN_IF_ERROR(CheckHello(hello));
  Actor& actor = actors_[hello.actor_id()];
  if (actor.stream != nullptr) {
    TACTUS_LOG(WARNING) << hello.actor_id() << " attached again from " << stream.peer()
                        << ": its older stream is ended; are there two actors of that name?";
    const uint64_t old = actor.stream->id();
    pending_.remove_if([old](const PendingLease& lease) { return lease.stream_id == old; });
    std::exchange(actor.stream, nullptr)->Abort();
  }
  const absl::Duration now = Now();
  actor.stream = &stream;
  actor.heard = now;
  const std::vector<uint64_t> held(hello.held_lease_ids().begin(), hello.held_lease_ids().end());
  const size_t returned = ledger_.ReturnLeases(hello.actor_id(), held).size();
  TACTUS_LOG(INFO) << hello.actor_id() << " attached from " << stream.peer() << " with " << held.size()
                   << " leases under way; " << returned << " return to the queue";
  wire::LearnerMessage message;
  wire::Welcome& welcome = *message.mutable_welcome();
  *welcome.mutable_latest() = ToWire(ledger_.version());
  welcome.set_submit_credits(kSubmitCredits);
  welcome.set_max_group_bytes(max_group_bytes_);
  stream.Send(std::move(message));
  PumpLeases(now);
  return absl::OkStatus();
}

absl::Status RolloutServer::Impl::OnLeaseRequest(RolloutStream& stream, const wire::LeaseRequest& request) {
  const auto pending = std::count_if(pending_.begin(), pending_.end(),
                                     [&](const PendingLease& lease) { return lease.stream_id == stream.id(); });
  if (pending >= kMaxPendingLeasesPerStream) {
    return absl::InvalidArgumentError(
        absl::StrCat("more than ", kMaxPendingLeasesPerStream, " lease requests at once"));
  }
  if (request.max_leases() < 1 || !(request.timeout_s() >= 0)) {
    return absl::InvalidArgumentError("lease_request needs max_leases >= 1 and timeout_s >= 0");
  }
  const absl::Duration now = Now();
  const PolicyVersion held = FromWire(request.held());
  Actor& actor = actors_[stream.actor_id()];
  actor.held = held;
  actor.heard = now;
  const auto most = static_cast<uint32_t>(leases_per_reply_);
  pending_.push_back({stream.id(), stream.actor_id(), request.request_id(),
                      static_cast<int>(std::min(request.max_leases(), most)), held,
                      now + absl::Seconds(std::min(request.timeout_s(), kMaxLeaseWaitS))});
  PumpLeases(now);
  return absl::OkStatus();
}

void RolloutServer::Impl::OnGroup(RolloutStream& stream, uint64_t sequence, std::string bytes) {
  const absl::Duration now = Now();
  actors_[stream.actor_id()].heard = now;
  ingest_.push_back({stream.id(), stream.actor_id(), sequence, std::move(bytes), now});
  changed_.SignalAll();
}

void RolloutServer::Impl::OnHeartbeat(RolloutStream& stream, const wire::Heartbeat& heartbeat) {
  Actor& actor = actors_[stream.actor_id()];
  actor.held = FromWire(heartbeat.held());
  actor.heard = Now();
}

void RolloutServer::Impl::OnViolation(RolloutStream& stream, const absl::Status& status) {
  ++violations_;
  if (!absl::IsPermissionDenied(status)) CountRefused("violation");  // else CheckHello has said which kind
  TACTUS_LOG(WARNING) << "ending the stream of " << (stream.actor_id().empty() ? "an actor" : stream.actor_id())
                      << " at " << stream.peer() << ": " << status.message();
}

void RolloutServer::Impl::OnClosed(RolloutStream& stream) {
  streams_.erase(stream.id());
  pending_.remove_if([&](const PendingLease& lease) { return lease.stream_id == stream.id(); });
  const auto actor = actors_.find(stream.actor_id());
  if (actor != actors_.end() && actor->second.stream == &stream) {
    actor->second.stream = nullptr;
    actor->second.lost = Now();
    TACTUS_LOG(INFO) << actor->first << " is gone, with " << ledger_.LeasesOf(actor->first) << " leases under way";
  }
  changed_.SignalAll();
}

void RolloutServer::Impl::Reply(const PendingLease& pending, const absl::Status& status,
                                const std::vector<PromptLease>& leases) {
  wire::LearnerMessage message;
  wire::LeaseReply& reply = *message.mutable_lease_reply();
  reply.set_request_id(pending.request_id);
  reply.set_code(static_cast<int32_t>(status.code()));
  reply.set_message(std::string(status.message()));
  for (const PromptLease& lease : leases) *reply.add_leases() = ToWire(lease);
  if (RolloutStream* stream = FindStream(pending.stream_id)) stream->Send(std::move(message));
}

void RolloutServer::Impl::PumpLeases(absl::Duration now) {
  for (auto pending = pending_.begin(); pending != pending_.end();) {
    const absl::StatusOr<std::vector<PromptLease>> leases =
        ledger_.Lease(pending->actor_id, pending->max_leases, pending->held, now);
    const bool nothing_yet = absl::IsResourceExhausted(leases.status());
    if (nothing_yet && now < pending->deadline) {
      ++pending;
      continue;
    }
    if (leases.ok()) {
      Reply(*pending, absl::OkStatus(), *leases);
    } else {
      Reply(*pending, nothing_yet ? absl::OkStatus() : leases.status(), {});
    }
    pending = pending_.erase(pending);
  }
}

void RolloutServer::Impl::Tick(absl::Duration now) {
  for (const LeaseInfo& lease : ledger_.Expire(now)) {
    TACTUS_LOG(WARNING) << "the lease of prompt " << lease.prompt_id << " to " << lease.actor_id << " expired after "
                        << absl::ToInt64Seconds(now - lease.leased_at) << " s";
  }
  for (auto it = actors_.begin(); it != actors_.end();) {
    Actor& actor = it->second;
    if (actor.stream == nullptr && now - actor.lost >= options_.lost_actor_grace) {
      const size_t returned = ledger_.ReturnLeases(it->first, {}).size();
      TACTUS_LOG(INFO) << it->first << " did not come back; " << returned << " leases return to the queue";
      it = actors_.erase(it);
    } else {
      ++it;
    }
  }
  for (const auto& [id, stream] : streams_) stream->AbortIfStuck(now);
  PumpLeases(now);
  IngestView ingest{.nonfinite_groups = nonfinite_groups_};
  for (const auto& [id, actor] : actors_) ingest.actors += actor.stream != nullptr ? 1 : 0;
  for (const Submission& submission : ingest_) ingest.waiting_bytes += static_cast<int64_t>(submission.bytes.size());
  ledger_metrics_.Update(ledger_, ingest);
}

void RolloutServer::Impl::RunIngest() {
  absl::Duration next_tick = Now();
  CertificateMetrics certificates(options_.security);
  while (true) {
    std::vector<Submission> batch;
    {
      absl::MutexLock lock(&mu_);
      while (ingest_.empty() && !stopped_ && Now() < next_tick) changed_.WaitWithTimeout(&mu_, next_tick - Now());
      if (stopped_) return;  // what is left was not acknowledged
      batch.swap(ingest_);
      if (Now() >= next_tick) {
        Tick(Now());
        next_tick = Now() + kTick;
      }
    }
    if (!batch.empty()) Ingest(batch);
    if (options_.metrics != nullptr) certificates.Update(*options_.metrics);
  }
}

void RolloutServer::Impl::CountNonfinite(const absl::Status& refusal) {
  const absl::string_view kind = NonfiniteValue(refusal);
  if (kind.empty()) return;
  ++nonfinite_groups_;
  if (options_.metrics != nullptr) options_.metrics->Add(Metric::kNonfiniteValues, 1, kind);
}

absl::Status RolloutServer::Impl::AppendToLog(const std::vector<Judged>& judged) {
  std::vector<absl::string_view> payloads;
  for (const Judged& item : judged) {
    if (item.to_log) payloads.push_back(item.submission->bytes);
  }
  if (log_ == nullptr || payloads.empty()) return absl::OkStatus();
  absl::Status status = log_->Append(payloads);
  if (!status.ok()) {
    TACTUS_LOG(ERROR) << "cannot make " << payloads.size() << " groups durable: " << status.message();
    status = absl::UnavailableError(absl::StrCat("the learner cannot make the group durable: ", status.message()));
  }
  return status;
}

void RolloutServer::Impl::Ingest(const std::vector<Submission>& batch) {
  std::vector<Judged> judged;
  for (const Submission& submission : batch) {
    judged.push_back({&submission, DecodeGroup(submission.bytes, options_.limits), false});
    Judged& item = judged.back();
    if (item.group.ok() && item.group->actor_id != submission.actor_id) {
      item.group = absl::InvalidArgumentError(
          absl::StrCat("group.actor_id is not ", submission.actor_id, ", whose stream it came on"));
    }
  }
  absl::MutexLock log_lock(&log_mu_);
  {
    absl::MutexLock lock(&mu_);
    for (Judged& item : judged) item.to_log = item.group.ok() && !ledger_.Judge(*item.group).rejected.has_value();
  }
  const absl::Status durable = AppendToLog(judged);
  absl::MutexLock lock(&mu_);
  for (Judged& item : judged) {
    absl::Status status;
    if (!item.group.ok()) {
      ledger_.CountMalformed();
      status = item.group.status();
      CountNonfinite(status);
    } else {
      // Between judging and now a lease can only have gone, never come: what is accepted here is in the log.
      status = item.to_log && !durable.ok() ? durable : ledger_.Submit(*std::move(item.group));
    }
    if (absl::IsInvalidArgument(status)) {
      TACTUS_LOG(WARNING) << "refused a group of " << item.submission->actor_id << ": " << status.message();
    }
    RolloutStream* stream = FindStream(item.submission->stream_id);
    if (stream == nullptr) continue;
    stream->SendSubmitReply(item.submission->sequence, status);
    if (options_.metrics != nullptr) {
      options_.metrics->Observe(Metric::kIngestAckDuration, absl::ToDoubleSeconds(Now() - item.submission->arrived));
    }
  }
  changed_.SignalAll();
}

}  // namespace tactus
