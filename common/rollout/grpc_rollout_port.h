// The actor's end of the rollout stream (proto/rollout_service.proto), to a learner in another process.
//
// Keeps one stream to the learner. When it is lost, attaches again with growing, jittered pauses (at most 5 s), and
// sends again whatever was not acknowledged; callers only notice a longer wait. A learner that refuses this actor ends
// the port for good: every call then returns its PermissionDenied. A protocol error does so with Internal.
//
// Thread-safe. Owns one thread. Callers bound what is in flight: a call holds its group until it returns.
#pragma once

#include <memory>
#include <string>

#include "common/base/host_port.h"
#include "common/data/codec.h"
#include "common/rollout/channel_security.h"
#include "common/rollout/rollout_port.h"

namespace tactus {

struct GrpcRolloutPortOptions {
  HostPort address;
  ChannelSecurity security;
  std::string run_id;
  std::string actor_id;            // unique among the run's actors; 1 to 128 of A-Z a-z 0-9 . _ : -
  std::string config_fingerprint;  // must equal the learner's
  TrajectoryLimits limits;
  std::string relay_address;  // HOST:PORT where other actors reach this one's weights; empty: nowhere
  std::string zone;           // of actors that fetch weights from each other; may be empty
};

class GrpcRolloutPort final : public RolloutPort {
 public:
  // Blocks until the learner welcomes the actor. Unavailable: not reached within `timeout`; the message has the last
  // cause. PermissionDenied: refused. InvalidArgument and file errors: bad security options.
  static absl::StatusOr<std::unique_ptr<GrpcRolloutPort>> Connect(const GrpcRolloutPortOptions& options,
                                                                  absl::Duration timeout);
  ~GrpcRolloutPort() override;

  // See RolloutPort. Unavailable: no stream when `timeout` ended. A lease that arrives too late for its call is given
  // to the next one.
  absl::StatusOr<std::vector<PromptLease>> Lease(int max_leases, PolicyVersion held, absl::Duration timeout) override;
  absl::Status Submit(const TrajectoryGroup& group, absl::Duration timeout) override;
  std::vector<uint64_t> Renew(std::span<const uint64_t> lease_ids) override;
  absl::StatusOr<std::optional<PolicyVersion>> AwaitVersion(std::optional<PolicyVersion> newer_than,
                                                            absl::Duration timeout) override;
  WeightPath NewestWeights() const override;
  bool Attached() const override;
  bool RunFinished() const override;
  void Close() override;

 private:
  class Impl;
  explicit GrpcRolloutPort(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace tactus
