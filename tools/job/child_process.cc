#include "tools/job/child_process.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/monotonic_clock.h"

namespace tactus {
namespace {

// Runs in the child between fork and exec: only async-signal-safe calls. Reports errno through `report`.
[[noreturn]] void BecomeChild(char* const* argv, char* const* environment, int output, int log, int report,
                              pid_t parent) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);  // the parent died before prctl
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  signal(SIGPIPE, SIG_DFL);
  const int null = open("/dev/null", O_RDONLY);
  if (null >= 0 && dup2(null, STDIN_FILENO) >= 0 && dup2(output, STDOUT_FILENO) >= 0 && dup2(log, STDERR_FILENO) >= 0) {
    execve(argv[0], argv, environment);
  }
  const int error = errno;
  [[maybe_unused]] const ssize_t ignored = write(report, &error, sizeof error);
  _exit(127);
}

}  // namespace

absl::StatusOr<std::unique_ptr<ChildProcess>> ChildProcess::Start(const std::vector<std::string>& argv,
                                                                  const std::string& log_path,
                                                                  const std::vector<std::string>& environment,
                                                                  const std::string& output_path) {
  std::vector<char*> pointers, variables;
  for (const std::string& arg : argv) pointers.push_back(const_cast<char*>(arg.c_str()));  // execve's old signature
  pointers.push_back(nullptr);
  for (const std::string& variable : environment) variables.push_back(const_cast<char*>(variable.c_str()));
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const absl::string_view name(*variable, std::strcspn(*variable, "="));
    const auto sets_it = [name](const std::string& set) { return absl::StartsWith(set, absl::StrCat(name, "=")); };
    if (std::none_of(environment.begin(), environment.end(), sets_it)) variables.push_back(*variable);
  }
  variables.push_back(nullptr);
  const int log = log_path.empty() ? fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0)
                                   : open(log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (log < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open the log ", log_path));
  const int output = output_path.empty() ? fcntl(log, F_DUPFD_CLOEXEC, 0)
                                         : open(output_path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  int report[2];
  if (output < 0 || pipe2(report, O_CLOEXEC) != 0) {
    const int error = errno;
    close(log);
    if (output < 0) return absl::ErrnoToStatus(error, absl::StrCat("cannot open the output ", output_path));
    close(output);
    return absl::ErrnoToStatus(error, "cannot make a pipe");
  }
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) BecomeChild(pointers.data(), variables.data(), output, log, report[1], parent);
  const int fork_error = errno;
  close(log);
  close(output);
  close(report[1]);
  int exec_error = 0;
  const ssize_t got = pid < 0 ? 0 : read(report[0], &exec_error, sizeof exec_error);  // ends when exec closes the pipe
  close(report[0]);
  if (pid < 0) return absl::ErrnoToStatus(fork_error, "cannot start a process");
  if (got > 0) {
    waitpid(pid, nullptr, 0);
    return absl::ErrnoToStatus(exec_error, absl::StrCat("cannot run ", argv[0]));
  }
  return std::unique_ptr<ChildProcess>(new ChildProcess(pid, log_path));
}

ChildProcess::~ChildProcess() {
  if (Poll()) return;
  Signal(SIGKILL);
  waitpid(pid_, nullptr, 0);
}

std::optional<int> ChildProcess::Poll() {
  if (status_) return status_;
  int status = 0;
  rusage usage{};
  if (wait4(pid_, &status, WNOHANG, &usage) == pid_) {
    const auto seconds = [](const timeval& t) {
      return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
    };
    cpu_seconds_ = seconds(usage.ru_utime) + seconds(usage.ru_stime);
    status_ = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  }
  return status_;
}

std::optional<int> ChildProcess::Wait(absl::Duration timeout) {
  const absl::Time deadline = MonotonicNow() + timeout;
  while (!Poll() && MonotonicNow() < deadline) absl::SleepFor(absl::Milliseconds(20));
  return status_;
}

void ChildProcess::Signal(int signal_number) {
  if (!Poll()) kill(pid_, signal_number);
}

absl::StatusOr<std::string> BinaryFolder() {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return absl::InternalError(absl::StrCat("cannot find this program's own folder: ", error.message(), "."));
  for (const char* name : {"tactus-learner", "tactus-actor"}) {
    if (access((self.parent_path() / name).c_str(), X_OK) != 0) {
      return absl::FailedPreconditionError(absl::StrCat(name, " is not in ", self.parent_path().string(),
                                                        ": expected it beside tactus; build or install it."));
    }
  }
  return self.parent_path().string();
}

std::string LogTail(const std::string& path, int lines) {
  constexpr std::streamoff kMaxBytes = 16384;
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) return "";
  const std::streamoff size = file.tellg();
  file.seekg(std::max<std::streamoff>(0, size - kMaxBytes));
  std::string text(static_cast<size_t>(std::min(size, kMaxBytes)), '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  while (!text.empty() && text.back() == '\n') text.pop_back();
  size_t start = text.size();
  for (int i = 0; i < lines && start != std::string::npos && start > 0; ++i) start = text.rfind('\n', start - 1);
  if (start != std::string::npos && start < text.size() && text[start] == '\n') ++start;
  return start == std::string::npos ? text : text.substr(start);
}

}  // namespace tactus
