// Drives an engine through a stream of requests: the loop of generation, scoring and evaluation.
#pragma once

#include <optional>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "actor/engine/engine.h"

namespace tactus {

using NextRequest = absl::FunctionRef<absl::StatusOr<std::optional<EngineRequest>>()>;
using FinishAnswer = absl::FunctionRef<absl::Status(FinishedCompletion)>;

// Adds what `next` gives (nullopt = no more) whenever the engine's queue has room, steps, and hands each completion to
// `done` as it finishes. Blocks until all are finished, or at the first error of `next`, of the engine or of `done`.
absl::Status RunRequests(Engine& engine, NextRequest next, FinishAnswer done);

// The same where answers are conversations. Between two steps `turns` goes on with those whose turn has ended
// (Engine::TakeEndedTurns), or concludes them and hands them on. Its errors end it, too.
absl::Status RunConversations(Engine& engine, NextRequest next, FinishAnswer done,
                              absl::FunctionRef<absl::Status(FinishAnswer finish)> turns);

}  // namespace tactus
