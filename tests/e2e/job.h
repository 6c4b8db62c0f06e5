// `tactus train` as a process, with its learner ranks and actors, on the quick start's policy.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "common/base/file.h"
#include "common/base/sha256.h"
#include "common/metrics/run_folder.h"
#include "tests/tree.h"

namespace tactus {

// Arguments of a process, each ended by a NUL; empty when it is gone. `process` is its folder in /proc.
inline std::string CommandLine(const std::filesystem::path& process) {
  std::string line;
  const int fd = ::open((process / "cmdline").c_str(), O_RDONLY | O_CLOEXEC);
  char buffer[4096];
  for (ssize_t n; fd >= 0 && (n = ::read(fd, buffer, sizeof buffer)) > 0;) line.append(buffer, static_cast<size_t>(n));
  if (fd >= 0) ::close(fd);
  return line;
}

// A whole job as a user runs it. Killed with its processes when destroyed.
class Job {
 public:
  static constexpr int kDefaultSteps = 4;

  Job(const std::string& name, std::vector<std::string> extra, bool fresh = true,
      const std::string& config = "configs/quickstart.textproto")
      : folder_{(std::filesystem::path(testing::TempDir()) / ("tactus_e2e_" + name)).string()} {
    std::vector<std::string> argv = {BuildPath("bin/tactus"), "train"};
    if (fresh) {
      std::filesystem::remove_all(folder_.root);
      argv.insert(argv.end(), {"--config", config[0] == '/' ? config : SourcePath(config), "--out", folder_.root});
      const std::string steps = std::to_string(kDefaultSteps);
      for (const std::string& set : {"model.path=" + SourcePath("models/quickstart"), "learner.steps=" + steps,
                                     std::string("rollout.prompts_per_step=6"),
                                     std::string("rollout.completions_per_prompt=4"), std::string("learner.threads=1"),
                                     std::string("checkpoint.every_steps=1"), std::string("eval.max_prompts=8")}) {
        argv.insert(argv.end(), {"--set", set});
      }
    } else {
      argv.insert(argv.end(), {"--resume", folder_.root});
    }
    argv.insert(argv.end(), extra.begin(), extra.end());
    pid_ = fork();
    if (pid_ == 0) {
      std::vector<char*> raw;
      for (std::string& arg : argv) raw.push_back(arg.data());
      raw.push_back(nullptr);
      ::chdir(SourcePath().c_str());
      ::execv(raw[0], raw.data());
      ::_exit(127);
    }
  }
  ~Job() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
  }

  void Signal(int signal) { ::kill(pid_, signal); }

  // Calls `during` every 20 ms until the job ends; its exit code, or -1 after too long.
  int Wait(const std::function<void()>& during = [] {}) {
    for (auto start = std::chrono::steady_clock::now(); std::chrono::steady_clock::now() - start < kJobTimeout;) {
      int status = 0;
      if (::waitpid(pid_, &status, WNOHANG) == pid_) {
        pid_ = -1;
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
      }
      during();
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return -1;
  }

  std::vector<StepRecord> Steps() const {
    absl::StatusOr<std::vector<StepRecord>> steps = ReadSteps(folder_.metrics());
    return steps.ok() ? *std::move(steps) : std::vector<StepRecord>();
  }
  std::string WeightsHash() const {
    const absl::StatusOr<std::string> bytes = ReadFile(NewestCheckpoint(folder_) + "/model/model.safetensors");
    return bytes.ok() ? Sha256Hex(*bytes) : "no weights: " + std::string(bytes.status().message());
  }
  // Process ids of this job's actors; of those that run `program`.
  std::vector<int> Actors() const { return Processes("tactus-actor"); }
  std::vector<int> Processes(const std::string& program) const {
    std::vector<int> pids;
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
      const std::string line = CommandLine(entry.path());
      if (line.find(program) != std::string::npos && line.find(folder_.root) != std::string::npos) {
        pids.push_back(std::stoi(entry.path().filename()));
      }
    }
    return pids;
  }
  const RunFolder& folder() const { return folder_; }

 private:
  static constexpr std::chrono::seconds kJobTimeout{240};

  RunFolder folder_;
  int pid_ = -1;
};

}  // namespace tactus
