// Collective between GPUs by c10d's NCCL process group, rendezvous through its TCP store. See collective.h.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "common/collective/collective.h"

namespace tactus {

// Options as CreateCollective checked them, device cuda:N. Sets the TORCH_NCCL_* variables that make c10d leave errors
// to us instead of ending the process, where they are unset: call it while no other thread reads the environment.
absl::StatusOr<std::unique_ptr<Collective>> CreateNcclCollective(const CollectiveOptions& options, int device_index);

}  // namespace tactus
