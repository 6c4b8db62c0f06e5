// What an actor has under way with its learner: calls that wait, leases it holds, groups not yet acknowledged. Decides
// which message goes out next and what an incoming one means; knows no stream and no thread, so it lives on when a
// stream is lost.
//
// Not thread-safe: GrpcRolloutPort guards it with its mutex.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/rollout/grpc_rollout_port.h"
#include "proto/rollout_service.pb.h"

namespace tactus {

inline constexpr uint32_t kRolloutProtocolVersion = 2;

class RolloutSession {
 public:
  struct LeaseCall {
    int max_leases = 0;
    PolicyVersion held;
    absl::Time deadline;
    bool sent = false;
    bool done = false;
    absl::Status status;
    std::vector<PromptLease> leases;
  };
  struct SubmitCall {
    std::string bytes;
    uint64_t lease_id = 0;
    size_t sent_bytes = 0;
    uint32_t chunks = 0;
    bool abandoned = false;  // its caller gave up; kept until acknowledged because its bytes are partly sent
    bool done = false;
    absl::Status status;
  };

  explicit RolloutSession(const GrpcRolloutPortOptions& options) : options_(options) {}

  // Registers a call; the caller waits for `done`, then forgets it.
  uint64_t AddLease(int max_leases, PolicyVersion held, absl::Time deadline);
  uint64_t AddSubmit(std::string bytes, uint64_t lease_id);
  LeaseCall& lease(uint64_t id) { return leases_.at(id); }
  SubmitCall& submit(uint64_t id) { return submits_.at(id); }
  void ForgetLease(uint64_t id) { leases_.erase(id); }
  void ForgetSubmit(uint64_t id);

  // Leases that came too late for the call that asked; at most `max_leases` whose time is not over.
  std::vector<PromptLease> TakeSpare(int max_leases, absl::Time now);

  // See RolloutPort::Renew. What is named goes out with the next heartbeat.
  std::vector<uint64_t> Renew(std::span<const uint64_t> lease_ids, absl::Time now);
  // Longest time between two heartbeats: several go out in the time of a lease.
  absl::Duration HeartbeatInterval() const;

  // The stream began, or was lost: everything unacknowledged is to be sent again.
  void Attach() { attached_ = true; }
  void Detach();

  // The next message to send, if any.
  std::optional<wire::ActorMessage> Next(absl::Time now);
  void RequestHeartbeat() { heartbeat_due_ = true; }

  // Takes in a message. An error means that the learner broke the protocol.
  absl::Status Handle(const wire::LearnerMessage& message, absl::Time now);

  bool welcomed() const { return welcomed_; }
  bool finished() const { return finished_; }
  size_t max_group_bytes() const { return max_group_bytes_; }
  std::optional<PolicyVersion> latest_version() const { return latest_version_; }
  const WeightPath& path() const { return path_; }  // to the latest version

 private:
  struct Spare {
    PromptLease lease;
    absl::Time received;
  };
  struct HeldLease {
    absl::Time end;
    absl::Duration timeout;
    bool working = false;  // named since the last heartbeat
  };
  wire::ActorMessage MakeHello(absl::Time now);
  wire::ActorMessage MakeHeartbeat(absl::Time now);
  std::optional<wire::ActorMessage> NextLeaseRequest(absl::Time now);
  std::optional<wire::ActorMessage> NextChunk();
  absl::Status HandleLeases(const wire::LeaseReply& reply, absl::Time now);
  absl::Status HandleVersion(const wire::PolicyVersion& version, const wire::WeightPath& path);
  absl::Status HandleSubmitReply(const wire::SubmitReply& reply);

  const GrpcRolloutPortOptions options_;
  bool attached_ = false;
  bool hello_sent_ = false;
  bool welcomed_ = false;
  bool finished_ = false;
  bool heartbeat_due_ = false;
  uint32_t credits_ = 0;
  size_t max_group_bytes_ = 0;
  PolicyVersion held_;  // as the last Lease call said
  std::optional<PolicyVersion> latest_version_;
  WeightPath path_;
  uint64_t next_id_ = 1;  // of requests and submissions
  std::map<uint64_t, LeaseCall> leases_;
  std::map<uint64_t, SubmitCall> submits_;
  std::optional<uint64_t> sending_;                          // the submission whose chunks are going out
  std::map<uint64_t, HeldLease> held_leases_;                // by lease id
  absl::Duration lease_timeout_ = absl::InfiniteDuration();  // of the newest lease
  std::deque<Spare> spare_;
};

}  // namespace tactus
