// A bucket's weights on their way between the ranks, in the memory of a GPU.
#pragma once

#include <ATen/core/Tensor.h>

#include "absl/status/status.h"
#include "common/collective/collective.h"
#include "common/model/shard.h"

namespace tactus {

// Starts an all-gather of `bucket` into `to` [bucket.size()], on the current queue: this rank's slice is copied there
// from `owned`, where the rank's slices of all buckets stand end to end, this one from `place` on (OwnedPlaces). The
// collective's errors.
absl::Status StartGather(const at::Tensor& owned, int64_t place, const FlatRange& bucket, const at::Tensor& to,
                         Collective& collective);

}  // namespace tactus
