// One line per event on stderr: text for people, or JSON for a cluster's log collector. Shaped like absl/log, which
// this Abseil lacks, so that it can be swapped for it later.
//
//   TACTUS_LOG(INFO) << "leased " << n << " prompts";
//
//   2026-11-26T08:15:30.123Z I actor actor-0 0.12  leased 4 prompts
//   {"time":"2026-11-26T08:15:30.123Z","severity":"INFO","run":"r","role":"actor","actor":"actor-0","version":"0.12",
//    "source":"actor/actor.cc:120","message":"leased 4 prompts"}                                       (on one line)
//
// Times are UTC. An event is one line whatever its text holds: control characters are escaped, and bytes that are no
// UTF-8 replaced in JSON. Thread-safe: lines never interleave. Never log a secret: nothing here redacts.
#pragma once

#include <sstream>
#include <string>

#include "absl/strings/string_view.h"

namespace tactus {

enum class LogSeverity { INFO, WARNING, ERROR };

// What stands on every line. Call once at start, before threads.
struct LogOptions {
  bool json = false;
  std::string role;  // "learner", "actor"
  std::string run_id;
  std::string instance_kind;  // "rank" or "actor": the key of `instance`
  std::string instance;       // the rank, or the actor's id
};
void ConfigureLog(const LogOptions& options);

// The version of the weights that this process works with from now on: on every line.
void SetLogVersion(absl::string_view version);

// Why a program ends without success: "program: message" for people, in JSON an event.
void LogFailure(absl::string_view program, absl::string_view message);

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
