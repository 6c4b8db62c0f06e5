// The actor's view of the learner, over gRPC (grpc_rollout_port.h) and by fakes in tests.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/data/types.h"

namespace tactus {

// Thread-safe. Blocking calls return within `timeout` (DeadlineExceeded) or when the port is closed (Cancelled).
// Unavailable means the learner cannot be reached right now: the call may be repeated.
class RolloutPort {
 public:
  virtual ~RolloutPort() = default;

  // Up to `max_leases` prompts to answer; may return fewer, and none when nothing is waiting before the timeout.
  // `held` is the version of the weights the actor would start them with.
  // FailedPrecondition: `held` is too old: fetch weights first.
  virtual absl::StatusOr<std::vector<PromptLease>> Lease(int max_leases, PolicyVersion held,
                                                         absl::Duration timeout) = 0;

  // Hands in a finished group. OK = acknowledged = durable at the learner; idempotent by lease id, so a caller repeats
  // it on Unavailable. NotFound: the lease expired: drop the group. InvalidArgument: the group is malformed.
  virtual absl::Status Submit(const TrajectoryGroup& group, absl::Duration timeout) = 0;

  // Blocks until the newest version that the learner has published, as last heard, is newer than `newer_than`, as any
  // is newer than none, and returns it; nullopt at the timeout.
  virtual absl::StatusOr<std::optional<PolicyVersion>> AwaitVersion(std::optional<PolicyVersion> newer_than,
                                                                    absl::Duration timeout) = 0;

  // Whether the learner can be heard at this moment. Never blocks.
  virtual bool Attached() const = 0;

  // True once the learner has said that the run is over. Never blocks.
  virtual bool RunFinished() const = 0;

  // Ends every blocked call with Cancelled. Idempotent.
  virtual void Close() = 0;
};

}  // namespace tactus
