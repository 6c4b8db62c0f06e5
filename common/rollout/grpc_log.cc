#include "common/rollout/grpc_log.h"

#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/base/log.h"
#include "common/base/log_limiter.h"
#include "common/base/monotonic_clock.h"

namespace tactus {
namespace {

class Library {
 public:
  explicit Library(const char* name) : name_(name) {}

  // What it calls an error is a peer's: to this process it is none, unless it ends it.
  void Log(bool error, bool fatal, const char* file, int line, absl::string_view message) {
    absl::MutexLock lock(&mu_);
    if (!limiter_.Allow(MonotonicNow() - absl::UnixEpoch()) && !fatal) return;
    LogLine(error ? LogSeverity::WARNING : LogSeverity::INFO, file, line).stream()
        << name_ << ": " << message << limiter_.LeftOut();
  }

 private:
  const char* const name_;
  absl::Mutex mu_;
  LogLimiter limiter_ ABSL_GUARDED_BY(mu_){/*burst=*/10, /*per_second=*/0.1};
};

void LogOfGrpc(gpr_log_func_args* args) {
  static Library* const grpc = new Library("gRPC");
  grpc->Log(args->severity == GPR_LOG_SEVERITY_ERROR, /*fatal=*/false, args->file, args->line, args->message);
}

void LogOfProtobuf(google::protobuf::LogLevel level, const char* file, int line, const std::string& message) {
  static Library* const protobuf = new Library("protobuf");
  protobuf->Log(level >= google::protobuf::LOGLEVEL_WARNING, level == google::protobuf::LOGLEVEL_FATAL, file, line,
                message);
}

}  // namespace

void RouteLibraryLogs() {
  gpr_set_log_function(LogOfGrpc);
  google::protobuf::SetLogHandler(LogOfProtobuf);
}

}  // namespace tactus
