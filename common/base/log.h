// One line per event on stderr: human on a terminal, JSON lines in a cluster. Shaped like absl/log, which this Abseil
// lacks, so that it can be swapped for it later.
//
//   TACTUS_LOG(INFO) << "leased " << n << " prompts";
//
// Thread-safe: lines never interleave. Never log a secret: nothing here redacts.
#pragma once

#include <sstream>
#include <string>

namespace tactus {

enum class LogSeverity { INFO, WARNING, ERROR };

// What stands on every line. Call once at start, before threads.
struct LogOptions {
  bool json = false;
  std::string role;  // "learner", "actor", "train"
  std::string run_id;
  std::string instance;  // rank or actor id
};
void ConfigureLog(const LogOptions& options);

class LogLine {
 public:
  LogLine(LogSeverity severity, const char* file, int line) : severity_(severity), file_(file), line_(line) {}
  ~LogLine();
  LogLine(const LogLine&) = delete;
  LogLine& operator=(const LogLine&) = delete;
  std::ostream& stream() { return stream_; }

 private:
  LogSeverity severity_;
  const char* file_;
  int line_;
  std::ostringstream stream_;
};

}  // namespace tactus

#define TACTUS_LOG(severity) ::tactus::LogLine(::tactus::LogSeverity::severity, __FILE__, __LINE__).stream()
