#include "common/rollout/grpc_log.h"

#include <grpc/support/log.h>

#include "common/base/log.h"

namespace tactus {
namespace {

// gRPC says as an error whatever a peer did wrong; to this process it is none.
void Log(gpr_log_func_args* args) {
  if (args->severity == GPR_LOG_SEVERITY_ERROR) {
    LogLine(LogSeverity::WARNING, args->file, args->line).stream() << "gRPC: " << args->message;
  } else {
    LogLine(LogSeverity::INFO, args->file, args->line).stream() << "gRPC: " << args->message;
  }
}

}  // namespace

void RouteGrpcLog() { gpr_set_log_function(Log); }

}  // namespace tactus
