#include "learner/train/parameter_feed_cpu.h"

#include <algorithm>

#include "common/base/status_macros.h"
#include "learner/train/bucket_cpu.h"

namespace tactus {

ParameterFeedCpu::ParameterFeedCpu(DecoderWeightsCpu& weights, std::span<const FlatRange> buckets,
                                   const Sharding& sharding, Collective& collective, ShardedGradients* gradients)
    : ParameterFeed(weights.parts(), buckets, sharding, collective, gradients),
      weights_(weights),
      dtype_(weights.dtype()) {
  weights_.SetFeed(this);
  for (size_t bucket = 0; bucket < buckets_.size(); ++bucket) Release(bucket);
}

size_t ParameterFeedCpu::BytesOf(size_t bucket) const {
  return static_cast<size_t>(buckets_[bucket].size() * BytesPerElement(dtype_));
}

void ParameterFeedCpu::Release(size_t bucket) {
  const FlatRange& all = buckets_[bucket];
  const FlatRange mine = SliceOf(all, sharding_.world, sharding_.rank);
  weights_.Release({all.begin, mine.begin});
  weights_.Release({mine.end, all.end});
  present_.erase(bucket);
}

absl::Status ParameterFeedCpu::Start(size_t part) {
  size_t bytes = 0;
  for (const size_t bucket : BucketsOf(part)) {
    if (present_.contains(bucket)) continue;
    coming_.push_back(bucket);
    bytes += BytesOf(bucket);
  }
  gathered_.resize(bytes);
  std::span<char> rest = gathered_;
  for (const size_t bucket : coming_) {
    RETURN_IF_ERROR(StartGather(weights_.flat(), buckets_[bucket], dtype_, rest.first(BytesOf(bucket)), collective_));
    rest = rest.subspan(BytesOf(bucket));
  }
  return absl::OkStatus();
}

void ParameterFeedCpu::Receive() {
  std::span<const char> rest = gathered_;
  for (const size_t bucket : coming_) {
    TakeOthers(rest.first(BytesOf(bucket)), buckets_[bucket], dtype_, collective_, weights_.flat());
    rest = rest.subspan(BytesOf(bucket));
    present_.insert(bucket);
  }
  coming_.clear();
}

bool ParameterFeedCpu::Has(size_t part) const {
  return std::ranges::all_of(BucketsOf(part), [&](size_t bucket) { return present_.contains(bucket); });
}

void ParameterFeedCpu::Keep(std::span<const size_t> parts) {
  std::set<size_t> wanted;
  for (const size_t part : parts) {
    for (const size_t bucket : BucketsOf(part)) wanted.insert(bucket);
  }
  for (const size_t bucket : std::vector<size_t>(present_.begin(), present_.end())) {
    if (!wanted.contains(bucket)) Release(bucket);
  }
}

}  // namespace tactus
