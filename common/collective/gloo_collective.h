// Collective over TCP by c10d's Gloo process group, rendezvous through its TCP store. See collective.h.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "common/collective/collective.h"

namespace tactus {

// Options as CreateCollective checked them, world >= 2. Ignores SIGPIPE from now on where nothing handles it: Gloo
// would let the process end silently when it writes to a rank that has just died.
absl::StatusOr<std::unique_ptr<Collective>> CreateGlooCollective(const CollectiveOptions& options);

}  // namespace tactus
