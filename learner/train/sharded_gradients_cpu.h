// Gradients in host memory of which each rank keeps the sums of its own slices alone.
//
// A backward pass writes to `window`, flat as the parameters. As soon as a bucket is complete there, it is added up
// over the ranks, each rank takes its slice into `sums`, and the bucket's memory is given back. So beside its share a
// rank holds what of the window a pass has written and not handed in: the layers at work, and a tied embedding, which
// is complete last.
//
// Sums are over the ranks first, pass by pass. With one pass a step on every rank they have the bits of whole gradients
// summed once; with more, additions come in another order (docs/adr/0023).
//
// "Collective": every rank makes the same calls in the same order, with the same places. Owned by one thread. Errors:
// the collective's, after which the state is of no use.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "common/collective/collective.h"
#include "common/ops/cpu/sparse_floats.h"
#include "learner/train/shards.h"

namespace tactus {

class ShardedGradientsCpu {
 public:
  // `buckets` (CutBuckets) outlive this.
  ShardedGradientsCpu(std::span<const FlatRange> buckets, const Sharding& sharding);

  float* window() { return window_.data(); }  // [numel], 0 where a pass begins
  // [numel]: own slices; 0 elsewhere.
  std::span<float> sums() { return {sums_.data(), static_cast<size_t>(sums_.size())}; }
  void Zero();  // the sums

  // A pass begins. Collective where sums of the one before are under way.
  absl::Status Begin(Collective& collective);
  // The window is complete from place `begin` on.
  void Complete(int64_t begin);
  // Collective. Waits for what is under way, and begins the sums of what is complete.
  absl::Status Advance(Collective& collective);
  // Takes what is summed into the sums, once the collective has been waited for: Advance is this and StartComplete.
  void Fold();
  absl::Status StartComplete(Collective& collective);
  // Collective. All that passes have completed is in the sums.
  absl::Status Finish(Collective& collective);

 private:
  const std::span<const FlatRange> buckets_;
  const int rank_, world_;
  ops::SparseFloats window_, sums_;
  size_t complete_ = 0;  // of the buckets, in their order
  size_t started_ = 0;
  size_t folded_ = 0;
};

}  // namespace tactus
