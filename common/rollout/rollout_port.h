// The actor's view of the learner, over gRPC (grpc_rollout_port.h) and by fakes in tests.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/data/types.h"

namespace tactus {

// How a version is best fetched; see proto/rollout_service.proto.
struct WeightPath {
  PolicyVersion version;
  std::string manifest_digest;       // empty: the learner has not said yet
  std::vector<std::string> parents;  // HOST:PORT, to be asked in turn before the learner
};

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
  // it on Unavailable. NotFound: the lease has ended: drop the group. InvalidArgument: the group is malformed.
  virtual absl::Status Submit(const TrajectoryGroup& group, absl::Duration timeout) = 0;

  // Says that the caller still works on these leases: the learner keeps a lease for its timeout_s from then on, or from
  // the grant. To be called more often than that. Returns those that have ended (given up by the learner, or out of
  // time while it could not be told): nobody takes an answer any more. A lease whose Submit is under way needs no
  // renewal. Never blocks.
  virtual std::vector<uint64_t> Renew(std::span<const uint64_t> lease_ids) = 0;

  // Blocks until the newest version that the learner has published, as last heard, is newer than `newer_than`, as any
  // is newer than none, and returns it; nullopt at the timeout.
  virtual absl::StatusOr<std::optional<PolicyVersion>> AwaitVersion(std::optional<PolicyVersion> newer_than,
                                                                    absl::Duration timeout) = 0;

  // The way to the newest version, as last heard. Never blocks. An actor that nobody has told goes to the learner.
  virtual WeightPath NewestWeights() const { return {}; }

  // Whether the learner can be heard at this moment. Never blocks.
  virtual bool Attached() const = 0;

  // True once the learner has said that the run is over. Never blocks.
  virtual bool RunFinished() const = 0;

  // Ends every blocked call with Cancelled. Idempotent.
  virtual void Close() = 0;
};

}  // namespace tactus
