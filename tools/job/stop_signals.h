// Catches the signals that mean "stop" (SIGINT, SIGTERM, SIGHUP) while it lives. One at a time in a process.
#pragma once

#include <csignal>

namespace tactus {

class StopSignals {
 public:
  StopSignals();
  ~StopSignals();  // puts the old handlers back
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  // Signals caught so far: the first asks for a clean stop, the second for a quick one. Any thread.
  static int Count();

 private:
  struct sigaction old_[3];
};

}  // namespace tactus
