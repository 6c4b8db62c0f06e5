#include "tools/batch/run_requests.h"

#include <span>
#include <utility>

#include "absl/time/clock.h"
#include "common/base/status_macros.h"

namespace tactus {
namespace {

// Between two looks at conversations, where the engine has nothing to do.
constexpr absl::Duration kPause = absl::Milliseconds(1);

}  // namespace

absl::Status RunRequests(Engine& engine, NextRequest next, FinishAnswer done) {
  return RunConversations(engine, next, done, [](FinishAnswer) { return absl::OkStatus(); });
}

absl::Status RunConversations(Engine& engine, NextRequest next, FinishAnswer done,
                              absl::FunctionRef<absl::Status(FinishAnswer finish)> turns) {
  bool more = true;
  int64_t open = 0;  // answers
  const auto finish = [&](FinishedCompletion one) {
    --open;
    return done(std::move(one));
  };
  while (true) {
    while (more && !engine.full()) {
      ASSIGN_OR_RETURN(std::optional<EngineRequest> request, next());
      more = request.has_value();
      if (!more) break;
      open += request->num_completions;
      RETURN_IF_ERROR(engine.Add(*std::move(request)));
    }
    RETURN_IF_ERROR(turns(finish));
    if (!more && open == 0) return absl::OkStatus();
    if (engine.idle()) {  // what is open waits
      absl::SleepFor(kPause);
      continue;
    }
    ASSIGN_OR_RETURN(const std::span<FinishedCompletion> finished, engine.Step());
    for (FinishedCompletion& one : finished) RETURN_IF_ERROR(finish(std::move(one)));
  }
}

}  // namespace tactus
