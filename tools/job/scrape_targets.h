// Where the processes of a job on this machine expose their metrics, as a file that a Prometheus (file_sd) and
// `tactus top` follow: [{"targets":["HOST:PORT"],"labels":{"job","instance","run"}}]. Not thread-safe.
#pragma once

#include <map>
#include <string>

#include "absl/status/status.h"

namespace tactus {

class ScrapeTargets {
 public:
  ScrapeTargets(std::string path, std::string run) : path_(std::move(path)), run_(std::move(run)) {}
  // A process exposes its metrics at `address` under the job of its role (learner, actor); an empty address takes it
  // off the list.
  void Set(const std::string& role, const std::string& instance, const std::string& address);
  // The same, from the file that the process writes when it serves: {"metrics":"HOST:PORT", ...}. Not there yet, or not
  // whole: unchanged.
  void SetFromReadyFile(const std::string& role, const std::string& instance, const std::string& ready_file);
  // Writes the file if anything changed since the last time.
  absl::Status Write();

 private:
  struct Target {
    std::string role, address;
  };
  std::string path_, run_;
  std::map<std::string, Target> targets_;  // by instance
  std::string written_;
};

}  // namespace tactus
