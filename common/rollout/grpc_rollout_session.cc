#include "common/rollout/grpc_rollout_session.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/rollout/grpc_channel.h"

namespace tactus {
namespace {

constexpr absl::Duration kHeartbeatInterval = absl::Seconds(5);
constexpr int kHeartbeatsPerLease = 4;
constexpr size_t kSha256Bytes = 32;
constexpr int kMaxParents = 64;

absl::Status ToStatus(int32_t code, const std::string& message) {
  if (code < 0 || code > static_cast<int32_t>(absl::StatusCode::kUnauthenticated)) {
    return absl::InternalError(absl::StrCat("the learner answered with unknown code ", code, ": ", message));
  }
  return {static_cast<absl::StatusCode>(code), message};
}

}  // namespace

uint64_t RolloutSession::AddLease(int max_leases, PolicyVersion held, absl::Time deadline) {
  held_ = held;
  LeaseCall& call = leases_[next_id_];
  call.max_leases = max_leases;
  call.held = held;
  call.deadline = deadline;
  return next_id_++;
}

uint64_t RolloutSession::AddSubmit(std::string bytes, uint64_t lease_id) {
  SubmitCall& call = submits_[next_id_];
  call.bytes = std::move(bytes);
  call.lease_id = lease_id;
  return next_id_++;
}

void RolloutSession::ForgetSubmit(uint64_t id) {
  SubmitCall& call = submits_.at(id);
  if (!call.done && call.sent_bytes > 0) {
    call.abandoned = true;
  } else {
    submits_.erase(id);
  }
}

std::vector<PromptLease> RolloutSession::TakeSpare(int max_leases, absl::Time now) {
  std::vector<PromptLease> taken;
  while (!spare_.empty() && taken.size() < static_cast<size_t>(max_leases)) {
    Spare spare = std::move(spare_.front());
    spare_.pop_front();
    spare.lease.timeout_s -= absl::ToDoubleSeconds(now - spare.received);
    if (spare.lease.timeout_s > 0) taken.push_back(std::move(spare.lease));
  }
  return taken;
}

std::vector<uint64_t> RolloutSession::Renew(std::span<const uint64_t> lease_ids, absl::Time now) {
  std::vector<uint64_t> ended;
  for (const uint64_t id : lease_ids) {
    const auto held = held_leases_.find(id);
    if (held == held_leases_.end() || held->second.end <= now) {
      ended.push_back(id);
    } else {
      held->second.working = true;
    }
  }
  return ended;
}

absl::Duration RolloutSession::HeartbeatInterval() const {
  return std::min(kHeartbeatInterval, lease_timeout_ / kHeartbeatsPerLease);
}

void RolloutSession::Detach() {
  attached_ = hello_sent_ = welcomed_ = false;
  credits_ = 0;
  sending_.reset();
  for (auto& [id, call] : leases_) call.sent = false;
  for (auto it = submits_.begin(); it != submits_.end();) {
    it->second.sent_bytes = 0;
    it->second.chunks = 0;
    it = it->second.abandoned ? submits_.erase(it) : std::next(it);
  }
}

wire::ActorMessage RolloutSession::MakeHello(absl::Time now) {
  wire::ActorMessage message;
  wire::Hello& hello = *message.mutable_hello();
  hello.set_protocol_version(kRolloutProtocolVersion);
  hello.set_run_id(options_.run_id);
  hello.set_actor_id(options_.actor_id);
  hello.set_config_fingerprint(options_.config_fingerprint);
  hello.set_relay_address(options_.relay_address);
  hello.set_zone(options_.zone);
  std::erase_if(held_leases_, [now](const auto& item) { return item.second.end <= now; });
  for (const auto& [id, held] : held_leases_) hello.add_held_lease_ids(id);
  return message;
}

wire::ActorMessage RolloutSession::MakeHeartbeat(absl::Time now) {
  for (const auto& [id, call] : submits_) {
    const auto held = held_leases_.find(call.lease_id);
    if (held != held_leases_.end() && !call.done && !call.abandoned) held->second.working = true;
  }
  wire::ActorMessage message;
  wire::Heartbeat& heartbeat = *message.mutable_heartbeat();
  *heartbeat.mutable_held() = ToWire(held_);
  for (auto& [id, held] : held_leases_) {
    if (!std::exchange(held.working, false)) continue;
    held.end = now + held.timeout;
    heartbeat.add_working_lease_ids(id);
  }
  return message;
}

std::optional<wire::ActorMessage> RolloutSession::NextLeaseRequest(absl::Time now) {
  for (auto& [id, call] : leases_) {
    if (call.sent || call.done || call.deadline <= now) continue;
    call.sent = true;
    wire::ActorMessage message;
    wire::LeaseRequest& request = *message.mutable_lease_request();
    request.set_request_id(id);
    request.set_max_leases(static_cast<uint32_t>(call.max_leases));
    *request.mutable_held() = ToWire(call.held);
    request.set_timeout_s(absl::ToDoubleSeconds(call.deadline - now));
    return message;
  }
  return std::nullopt;
}

std::optional<wire::ActorMessage> RolloutSession::NextChunk() {
  if (!sending_.has_value() && credits_ > 0) {
    const auto next = std::find_if(submits_.begin(), submits_.end(),
                                   [](const auto& item) { return item.second.sent_bytes == 0 && !item.second.done; });
    if (next != submits_.end()) {
      sending_ = next->first;
      --credits_;
    }
  }
  if (!sending_.has_value()) return std::nullopt;
  SubmitCall& call = submits_.at(*sending_);
  wire::ActorMessage message;
  wire::SubmitChunk& chunk = *message.mutable_submit_chunk();
  const size_t size = std::min(kMaxChunkBytes, call.bytes.size() - call.sent_bytes);
  chunk.set_sequence(*sending_);
  chunk.set_index(call.chunks++);
  chunk.set_data(call.bytes.data() + call.sent_bytes, size);
  call.sent_bytes += size;
  chunk.set_last(call.sent_bytes == call.bytes.size());
  if (chunk.last()) sending_.reset();
  return message;
}

std::optional<wire::ActorMessage> RolloutSession::Next(absl::Time now) {
  if (!attached_) return std::nullopt;
  if (!hello_sent_) {
    hello_sent_ = true;
    return MakeHello(now);
  }
  if (!welcomed_) return std::nullopt;
  if (heartbeat_due_) {
    heartbeat_due_ = false;
    return MakeHeartbeat(now);
  }
  if (std::optional<wire::ActorMessage> request = NextLeaseRequest(now)) return request;
  return NextChunk();
}

absl::Status RolloutSession::HandleLeases(const wire::LeaseReply& reply, absl::Time now) {
  std::vector<PromptLease> leases;
  for (const wire::PromptLease& wire : reply.leases()) {
    ASSIGN_OR_RETURN(PromptLease lease, FromWire(wire, options_.limits));
    lease_timeout_ = absl::Seconds(lease.timeout_s);
    held_leases_[lease.lease_id] = {.end = now + lease_timeout_, .timeout = lease_timeout_};
    leases.push_back(std::move(lease));
  }
  const auto call = leases_.find(reply.request_id());
  if (call == leases_.end() || call->second.done) {
    for (PromptLease& lease : leases) spare_.push_back({std::move(lease), now});
    return absl::OkStatus();
  }
  call->second.status = ToStatus(reply.code(), reply.message());
  call->second.leases = std::move(leases);
  call->second.done = true;
  return absl::OkStatus();
}

absl::Status RolloutSession::HandleSubmitReply(const wire::SubmitReply& reply) {
  const auto call = submits_.find(reply.sequence());
  if (call == submits_.end() || call->second.done || call->second.sent_bytes < call->second.bytes.size()) {
    return absl::InternalError(absl::StrCat("the learner acknowledged unknown submission ", reply.sequence()));
  }
  ++credits_;
  call->second.status = ToStatus(reply.code(), reply.message());
  call->second.done = true;
  if (!absl::IsUnavailable(call->second.status)) held_leases_.erase(call->second.lease_id);
  if (call->second.abandoned) submits_.erase(call);
  return absl::OkStatus();
}

absl::Status RolloutSession::HandleVersion(const wire::PolicyVersion& version, const wire::WeightPath& path) {
  if (!path.manifest_sha256().empty() && path.manifest_sha256().size() != kSha256Bytes) {
    return absl::InternalError(absl::StrCat("the learner announced a hash of ", path.manifest_sha256().size(),
                                            " bytes; expected ", kSha256Bytes));
  }
  if (path.parents_size() > kMaxParents) {
    return absl::InternalError(
        absl::StrCat("the learner names ", path.parents_size(), " parents; expected at most ", kMaxParents));
  }
  latest_version_ = FromWire(version);
  path_ = {.version = *latest_version_,
           .manifest_digest = absl::BytesToHexString(path.manifest_sha256()),
           .parents = {path.parents().begin(), path.parents().end()}};
  return absl::OkStatus();
}

absl::Status RolloutSession::Handle(const wire::LearnerMessage& message, absl::Time now) {
  switch (message.kind_case()) {
    case wire::LearnerMessage::kWelcome:
      if (welcomed_) return absl::InternalError("the learner sent a second welcome");
      welcomed_ = true;
      credits_ = message.welcome().submit_credits();
      max_group_bytes_ = message.welcome().max_group_bytes();
      for (const uint64_t id : message.welcome().ended_lease_ids()) held_leases_.erase(id);
      return HandleVersion(message.welcome().latest(), message.welcome().path());
    case wire::LearnerMessage::kLeaseReply:
      return HandleLeases(message.lease_reply(), now);
    case wire::LearnerMessage::kSubmitReply:
      return HandleSubmitReply(message.submit_reply());
    case wire::LearnerMessage::kNewVersion:
      return HandleVersion(message.new_version().version(), message.new_version().path());
    case wire::LearnerMessage::kLeasesEnded:
      for (const uint64_t id : message.leases_ended().lease_ids()) held_leases_.erase(id);
      return absl::OkStatus();
    case wire::LearnerMessage::kRunFinished:
      finished_ = true;
      return absl::OkStatus();
    case wire::LearnerMessage::KIND_NOT_SET:
      break;
  }
  return absl::InternalError("the learner sent a message of unknown kind");
}

}  // namespace tactus
