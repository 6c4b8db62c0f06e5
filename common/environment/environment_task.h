// The prompts of a user's server behind the Task interface: all of them are read at the start, so that which prompt
// stands where does not depend on the server any more.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "common/environment/grpc_environment_client.h"
#include "common/tasks/task.h"

namespace tactus {

inline constexpr size_t kMaxEnvironmentPrompts = 1'000'000;  // of a split
inline constexpr size_t kMaxEnvironmentBytes = size_t{1} << 30;

// Blocks until both splits are read (test_only: one), ten minutes each at most. InvalidArgument: an id stands twice in
// a split, a prompt in both; no prompt to train on; more than the above. Else errors of EnvironmentClient.
absl::StatusOr<std::unique_ptr<Task>> ReadEnvironmentTask(EnvironmentClient& client, bool test_only);

}  // namespace tactus
