// What Gloo and NCCL share of c10d: the store, exceptions, and how a group of ranks comes together.
#pragma once

#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/collective/collective.h"
#include "common/collective/comm_backend.h"

namespace tactus {

// The one place where an exception of libtorch, Gloo or NCCL becomes a Status: DeadlineExceeded for a timeout,
// otherwise Unavailable. Only the first line: the rest is a stack.
absl::Status StatusOfException(std::exception_ptr error);

std::chrono::milliseconds CeilMilliseconds(absl::Duration duration);  // at least 1

// Makes the communicator in which all ranks have met; `store` is for its own keys. `places` by rank. May throw.
using BackendFactory = std::function<absl::StatusOr<std::shared_ptr<CommBackend>>(
    const c10::intrusive_ptr<c10d::Store>& store, const std::vector<std::string>& places)>;

// Opens the TCP store (in a world of 1 one within this process), meets the other ranks there and, with the communicator
// that `make_backend` then makes, in a first barrier. `place` tells the others where this rank computes. Blocks up to
// the timeout for each of these. Errors as CreateCollective's.
absl::StatusOr<std::unique_ptr<Collective>> JoinC10dGroup(const CollectiveOptions& options, const std::string& place,
                                                          const BackendFactory& make_backend);

}  // namespace tactus
