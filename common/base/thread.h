// Starting threads without exceptions, what happens to those that nobody caught, and how a program begins.
#pragma once

#include <functional>
#include <thread>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tactus {

// std::thread's constructor throws where the system gives no more threads (limits of processes or memory), which is a
// status here. ResourceExhausted names `purpose`, as in "handing in groups". Thread-safe.
absl::StatusOr<std::thread> StartThread(absl::string_view purpose, std::function<void()> body);

// The last resort: an exception that nobody catches, on whatever thread, ends the program with a sentence and
// kExitFailure, where the default is SIGABRT. Above all that is memory which the system refuses. `program` begins the
// sentence and lives as long as the process. Once, at start.
void EndOnUncaughtExceptions(const char* program);

// What every program does first. The above; and locks are taken without the search for cycles among them that Debian's
// build of Abseil makes at each, gRPC's included. Tests keep it.
void BeginProgram(const char* program);

}  // namespace tactus
