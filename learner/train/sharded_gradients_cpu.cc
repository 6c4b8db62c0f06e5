#include "learner/train/sharded_gradients_cpu.h"

#include "common/base/status_macros.h"
#include "common/ops/cpu/parallel.h"

namespace tactus {
namespace {

constexpr int64_t kGrain = int64_t{1} << 16;  // floats of a thread at a time

int64_t NumelOfAll(std::span<const FlatRange> buckets) { return buckets.empty() ? 0 : buckets.front().end; }

}  // namespace

ShardedGradientsCpu::ShardedGradientsCpu(std::span<const FlatRange> buckets, const Sharding& sharding)
    : buckets_(buckets),
      rank_(sharding.rank),
      world_(sharding.world),
      window_(NumelOfAll(buckets)),
      sums_(NumelOfAll(buckets)) {}

void ShardedGradientsCpu::Zero() { sums_.Release(0, sums_.size()); }

absl::Status ShardedGradientsCpu::Begin(Collective& collective) {
  RETURN_IF_ERROR(Finish(collective));
  complete_ = started_ = folded_ = 0;
  return absl::OkStatus();
}

void ShardedGradientsCpu::Complete(int64_t begin) {
  while (complete_ < buckets_.size() && buckets_[complete_].begin >= begin) ++complete_;
}

void ShardedGradientsCpu::Fold() {
  for (; folded_ < started_; ++folded_) {
    const FlatRange mine = SliceOf(buckets_[folded_], world_, rank_);
    const float* const from = window_.data() + mine.begin;
    float* const to = sums_.data() + mine.begin;
    ops::ParallelFor(mine.size(), kGrain, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) to[i] += from[i];
    });
    window_.Release(buckets_[folded_].begin, buckets_[folded_].end);
  }
}

absl::Status ShardedGradientsCpu::StartComplete(Collective& collective) {
  for (; started_ < complete_; ++started_) {
    const FlatRange& bucket = buckets_[started_];
    RETURN_IF_ERROR(
        collective.StartReduceScatterSum({window_.data() + bucket.begin, static_cast<size_t>(bucket.size())}));
  }
  return absl::OkStatus();
}

}  // namespace tactus
