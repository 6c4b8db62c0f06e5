// How the ranks divide the flat buffers of parameters, gradients and moments among themselves.
//
// The buffer is cut into buckets, and rank r owns slice r (SliceOf) of every bucket: a bucket's gradients are added up
// by one reduce-scatter as soon as they are complete, and every rank has as much to do in each.
// Pure functions of their arguments, hence the same cuts on every rank.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/model/shard.h"

namespace tactus {

// In the order in which the backward pass completes them: from the end of the layout to its beginning, so a bucket is
// complete when the gradient is at its begin. (A tied embedding, first in the layout, also gets a part from the head:
// it is complete at the very end.) Together they are the whole buffer of `numel` floats. All have one size, at most
// `sharding.bucket_bytes` (or 16 floats a rank), which the ranks share evenly; only the first of this order may be
// shorter.
std::vector<FlatRange> CutBuckets(int64_t numel, const Sharding& sharding);

// Rank `rank`'s part of a bucket, which may be empty.
FlatRange SliceOf(const FlatRange& bucket, int world, int rank);

// Slice `rank` of every bucket, ascending, neighbours joined.
std::vector<FlatRange> OwnedRanges(std::span<const FlatRange> buckets, int world, int rank);

// Where its slice of each bucket begins when these ranges stand end to end.
std::vector<int64_t> OwnedPlaces(std::span<const FlatRange> buckets, int world, int rank);

// What this rank keeps, saves and restores of masters and moments: all of it without sharding, nothing of a reference.
std::vector<FlatRange> ShareOf(std::span<const FlatRange> buckets, const Sharding& sharding);

}  // namespace tactus
