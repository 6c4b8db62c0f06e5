// Drives an engine through a stream of requests: the loop of generation, scoring and evaluation.
#pragma once

#include <optional>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "actor/engine/engine.h"

namespace tactus {

// Adds what `next` gives (nullopt = no more) whenever the engine's queue has room, steps, and hands each completion to
// `done` as it finishes. Blocks until all are finished, or at the first error of `next`, of the engine or of `done`.
absl::Status RunRequests(Engine& engine, absl::FunctionRef<absl::StatusOr<std::optional<EngineRequest>>()> next,
                         absl::FunctionRef<absl::Status(FinishedCompletion)> done);

}  // namespace tactus
