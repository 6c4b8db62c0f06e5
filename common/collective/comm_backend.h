// The seam between what a group does (group_collective.h) and the library that moves the bytes: Gloo, NCCL, and in
// tests a twin that fails on purpose.
#pragma once

#include <functional>
#include <memory>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace tactus {

struct CommRequest {
  enum class Kind { kSumFloats, kSumDoubles, kReduceScatterFloats, kGather, kBroadcastBytes };
  Kind kind = Kind::kSumFloats;
  std::span<char> values;  // not empty; worked on in place
  size_t slice_bytes = 0;  // reduce-scatter, gather: of a rank's slice; the last may be shorter
  int root = 0;            // broadcast
};

// An operation in flight. The spans of its request belong to it until Collect returns or the backend was aborted;
// after the latter it may be dropped unfinished.
class CommOperation {
 public:
  virtual ~CommOperation() = default;
  virtual absl::StatusOr<bool> Done() = 0;  // finished, well or not; does not block. An error: nobody will know
  virtual absl::Status Collect() = 0;       // once, when Done: the result is in the request's values, or why it is not
};

struct CommLimits {
  size_t piece_bytes = 0;        // longer sums and broadcasts are cut
  size_t max_in_flight = 0;      // operations
  absl::Duration poll_interval;  // how often Done is asked while nobody calls `wake`
};

// One rank's end of a communicator. Owned by the group's thread, except Abort.
class CommBackend {
 public:
  virtual ~CommBackend() = default;  // after Abort: does not wait for operations
  virtual CommLimits limits() const = 0;
  // Operations run in the order of their start. `wake` may be called on any thread when one may be done, even after
  // this object is gone. Unavailable, or DeadlineExceeded where the library has its own timeout. May hang, as the rest
  // of this interface may: a group bounds the calls (hang_watch.h).
  virtual absl::StatusOr<std::unique_ptr<CommOperation>> Start(const CommRequest& request,
                                                               std::function<void()> wake) = 0;
  // Any thread, once, also while Start or Collect is under way. Afterwards no operation touches its spans, and the
  // other ranks' operations fail soon.
  virtual void Abort() = 0;
};

}  // namespace tactus
