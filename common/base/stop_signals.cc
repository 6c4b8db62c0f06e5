#include "common/base/stop_signals.h"

#include <unistd.h>

#include <csignal>

namespace tactus {
namespace {

constexpr int kCountThem = -1;
// Written by a signal handler.
std::atomic<int> exit_code_at_once{kCountThem}, caught{0};
std::atomic<bool> requested{false};
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<bool>::is_always_lock_free);

void OnSignal(int) {
  if (const int code = exit_code_at_once; code != kCountThem) _exit(code);
  ++caught;
  requested = true;
}

void Handle(int exit_code) {
  caught = 0;
  requested = false;
  exit_code_at_once = exit_code;
  struct sigaction action {};
  action.sa_handler = OnSignal;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  struct sigaction hangup {};
  if (sigaction(SIGHUP, nullptr, &hangup) == 0 && hangup.sa_handler != SIG_IGN) sigaction(SIGHUP, &action, nullptr);
}

}  // namespace

void ExitOnStopSignals(int exit_code) { Handle(exit_code); }
void CatchStopSignals() { Handle(kCountThem); }
int StopSignalCount() { return caught; }
const std::atomic<bool>* StopRequested() { return &requested; }

}  // namespace tactus
