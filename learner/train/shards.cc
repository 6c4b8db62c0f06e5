#include "learner/train/shards.h"

#include <algorithm>

#include "common/collective/collective.h"

namespace tactus {
namespace {

constexpr int64_t kSliceMultiple = 16;  // floats: a cache line

}  // namespace

std::vector<FlatRange> CutBuckets(int64_t numel, const Sharding& sharding) {
  const int64_t multiple = kSliceMultiple * sharding.world;
  const int64_t fitting = sharding.bucket_bytes / static_cast<int64_t>(sizeof(float));
  const int64_t bucket = std::max(multiple, fitting / multiple * multiple);
  std::vector<FlatRange> buckets;
  for (int64_t begin = 0; begin < numel; begin += bucket) buckets.push_back({begin, std::min(numel, begin + bucket)});
  std::ranges::reverse(buckets);
  return buckets;
}

FlatRange SliceOf(const FlatRange& bucket, int world, int rank) {
  const Slice slice = SliceOf(static_cast<size_t>(bucket.size()), world, rank);
  return {bucket.begin + static_cast<int64_t>(slice.begin), bucket.begin + static_cast<int64_t>(slice.end)};
}

std::vector<FlatRange> OwnedRanges(std::span<const FlatRange> buckets, int world, int rank) {
  std::vector<FlatRange> owned;
  for (auto bucket = buckets.rbegin(); bucket != buckets.rend(); ++bucket) {
    const FlatRange range = SliceOf(*bucket, world, rank);
    if (range.size() == 0) continue;
    if (!owned.empty() && owned.back().end == range.begin) {
      owned.back().end = range.end;
    } else {
      owned.push_back(range);
    }
  }
  return owned;
}

std::vector<int64_t> OwnedPlaces(std::span<const FlatRange> buckets, int world, int rank) {
  std::vector<int64_t> places(buckets.size());
  int64_t place = 0;
  for (size_t bucket = buckets.size(); bucket-- > 0;) {  // ascending
    places[bucket] = place;
    place += SliceOf(buckets[bucket], world, rank).size();
  }
  return places;
}

std::vector<FlatRange> ShareOf(std::span<const FlatRange> buckets, const Sharding& sharding) {
  if (!sharding.trains) return {};
  return sharding.shard == Shard::kNone ? OwnedRanges(buckets, 1, 0)
                                        : OwnedRanges(buckets, sharding.world, sharding.rank);
}

}  // namespace tactus
