// A child process that cannot outlive this process, and whose output goes to files or where this process's goes.
#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace tactus {

// Not thread-safe. Start it from the main thread: the kernel kills the child when the thread that made it ends.
class ChildProcess {
 public:
  // Runs argv[0] (a path) with stdin from /dev/null and both outputs appended to log_path; "" = to this process's
  // stderr. With `output_path` standard output alone becomes that file instead. `environment` ("NAME=value") wins over
  // this process's own. In its own process group, so that a terminal's Ctrl-C reaches only the parent, which then stops
  // things in order. NotFound: no such program.
  static absl::StatusOr<std::unique_ptr<ChildProcess>> Start(const std::vector<std::string>& argv,
                                                             const std::string& log_path,
                                                             const std::vector<std::string>& environment = {},
                                                             const std::string& output_path = "");
  // Kills it if it still runs.
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  // The exit status once it has ended: 0-255, or 128 + the signal's number. Never blocks.
  std::optional<int> Poll();
  // Waits at most `timeout`.
  std::optional<int> Wait(absl::Duration timeout);
  // Does nothing once the end has been seen.
  void Signal(int signal_number);
  // User and system CPU time, known once it has ended.
  double cpu_seconds() const { return cpu_seconds_; }
  pid_t pid() const { return pid_; }
  const std::string& log_path() const { return log_path_; }

 private:
  ChildProcess(pid_t pid, std::string log_path) : pid_(pid), log_path_(std::move(log_path)) {}
  pid_t pid_;
  std::string log_path_;
  std::optional<int> status_;
  double cpu_seconds_ = 0;
};

// The folder of this executable, where tactus-learner and tactus-actor stand beside it. FailedPrecondition: they do
// not.
absl::StatusOr<std::string> BinaryFolder();

// The last lines of a log, for a person to read; at most 16 KiB. Empty if there is none.
std::string LogTail(const std::string& path, int lines);

}  // namespace tactus
