// Whether all ranks hold the same parameters.
#pragma once

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "common/collective/collective.h"

namespace tactus {

// A number that another content has almost surely another of; not against forgery. Uses the process's intra-op threads.
uint64_t Fingerprint64(std::span<const char> bytes);

// Collective: every rank calls it with its own. FailedPrecondition, on every rank, naming the ranks whose bytes are not
// rank 0's. The collective's errors.
absl::Status CompareReplicas(Collective& collective, std::span<const char> bytes);

}  // namespace tactus
