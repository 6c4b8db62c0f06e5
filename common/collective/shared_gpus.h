// Whether ranks that share a GPU can form a group.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace tactus {

// `places`: of each rank, what tells its GPU from every other of the cluster. `nccl_version` as ncclGetVersion gives it
// (23004 for 2.30.4); `enabled`: NCCL_MULTI_RANK_GPU_ENABLE=1 is set. FailedPrecondition: names ranks that share one,
// and what is missing for it.
absl::Status CheckSharedGpus(const std::vector<std::string>& places, int nccl_version, bool enabled);

}  // namespace tactus
