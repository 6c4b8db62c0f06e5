// A bucket's weights on their way between the ranks, in host memory and in the storage dtype.
#pragma once

#include <span>

#include "absl/status/status.h"
#include "common/base/dtype.h"
#include "common/collective/collective.h"
#include "common/model/shard.h"

namespace tactus {

// Starts an all-gather of `bucket` into `bytes` [bucket.size() in dtype]: this rank's slice of `parameters`, which are
// the whole flat buffer, is rounded into them at once. The collective's errors.
absl::Status StartGather(std::span<const float> parameters, const FlatRange& bucket, StorageDType dtype,
                         std::span<char> bytes, Collective& collective);

// Afterwards: what the other ranks sent goes into `parameters`; this rank's slice stays as it is.
void TakeOthers(std::span<const char> bytes, const FlatRange& bucket, StorageDType dtype, const Collective& collective,
                std::span<float> parameters);

}  // namespace tactus
