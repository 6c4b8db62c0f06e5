#include "tools/batch/run_requests.h"

#include <span>
#include <utility>

#include "common/base/status_macros.h"

namespace tactus {

absl::Status RunRequests(Engine& engine, absl::FunctionRef<absl::StatusOr<std::optional<EngineRequest>>()> next,
                         absl::FunctionRef<absl::Status(FinishedCompletion)> done) {
  bool more = true;
  while (true) {
    while (more && !engine.full()) {
      ASSIGN_OR_RETURN(std::optional<EngineRequest> request, next());
      more = request.has_value();
      if (more) RETURN_IF_ERROR(engine.Add(*std::move(request)));
    }
    if (engine.idle()) return absl::OkStatus();
    ASSIGN_OR_RETURN(const std::span<FinishedCompletion> finished, engine.Step());
    for (FinishedCompletion& one : finished) RETURN_IF_ERROR(done(std::move(one)));
  }
}

}  // namespace tactus
