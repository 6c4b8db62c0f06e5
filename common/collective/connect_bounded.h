// Connecting with the other ranks through a library that may never come back.
#pragma once

#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/collective/comm_backend.h"

namespace tactus {

// Calls `connect`, which owns what it uses, and waits for at most `timeout`; then, or where it fails, aborts the
// backend and waits for at most `abort_patience` more. A call that hangs is left behind with the backend.
// DeadlineExceeded: no answer in time; else connect's error.
absl::Status ConnectBounded(const std::shared_ptr<CommBackend>& backend, absl::Duration timeout,
                            absl::Duration abort_patience, const std::function<absl::Status()>& connect);

}  // namespace tactus
