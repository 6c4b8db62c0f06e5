// Gradients of which each rank keeps the sums of its own slices alone (docs/adr/0023).
//
// A backward pass adds to them where `At` says. As soon as a bucket is complete there, it is added up over the ranks,
// each rank takes its slice into its sums, and the bucket's memory is free for others. So beside its share a rank holds
// what a pass has written and not handed in: the layers at work, and a tied embedding, which is complete last.
//
// Sums are over the ranks first, pass by pass. With one pass a step on every rank they have the bits of whole gradients
// summed once; with more, additions come in another order.
//
// "Collective": every rank makes the same calls in the same order, with the same places. Owned by one thread. Errors:
// the collective's, after which the state is of no use.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "common/base/status_macros.h"
#include "common/collective/collective.h"

namespace tactus {

class ShardedGradients {
 public:
  virtual ~ShardedGradients() = default;

  // Where a pass adds to the gradient of the parameter at `place` of the flat buffer: 0 where the pass begins.
  virtual float* At(int64_t place) = 0;
  // A pass begins. Collective where sums of the one before are under way.
  virtual absl::Status Begin(Collective& collective) = 0;
  // The pass has written all from place `begin` on.
  virtual void Complete(int64_t begin) = 0;
  // Takes what is summed into the sums, once the collective has been waited for.
  virtual void Fold() = 0;
  // Collective. Begins the sums of what is complete.
  virtual absl::Status StartComplete(Collective& collective) = 0;

  // Collective. Waits for what is under way, and begins the sums of what is complete.
  absl::Status Advance(Collective& collective) {
    RETURN_IF_ERROR(collective.Wait());
    Fold();
    return StartComplete(collective);
  }
  // Collective. All that passes have completed is in the sums.
  absl::Status Finish(Collective& collective) {
    RETURN_IF_ERROR(StartComplete(collective));
    RETURN_IF_ERROR(collective.Wait());
    Fold();
    return absl::OkStatus();
  }
};

}  // namespace tactus
