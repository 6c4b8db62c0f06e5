// ShardedGradients in host memory: a pass writes to a window that is flat as the parameters, and of which only what is
// written, and not given back, takes memory.
#pragma once

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "common/collective/collective.h"
#include "common/ops/cpu/sparse_floats.h"
#include "learner/train/sharded_gradients.h"
#include "learner/train/shards.h"

namespace tactus {

class ShardedGradientsCpu : public ShardedGradients {
 public:
  // `buckets` (CutBuckets) outlive this.
  ShardedGradientsCpu(std::span<const FlatRange> buckets, const Sharding& sharding);

  float* At(int64_t place) override { return window_.data() + place; }
  absl::Status Begin(Collective& collective) override;
  void Complete(int64_t begin) override;
  void Fold() override;
  absl::Status StartComplete(Collective& collective) override;

  // [numel]: own slices; 0 elsewhere.
  std::span<float> sums() { return {sums_.data(), static_cast<size_t>(sums_.size())}; }
  void Zero();  // the sums

 private:
  const std::span<const FlatRange> buckets_;
  const int rank_, world_;
  ops::SparseFloats window_, sums_;
  size_t complete_ = 0;  // of the buckets, in their order
  size_t started_ = 0;
  size_t folded_ = 0;
};

}  // namespace tactus
