// Why a process cannot do its work at the moment, as /readyz tells it, and whether it hangs, as /healthz does.
// Thread-safe.
#pragma once

#include <functional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace tactus {

class Readiness {
 public:
  // Empty = ready; otherwise one line for people. Must not block: probes wait for it.
  using Reason = std::function<std::string()>;

  explicit Readiness(std::string starting) : reason_([starting = std::move(starting)] { return starting; }) {}

  // From now on `reason` is asked. When this returns, the one before is not running and never runs again.
  void Watch(Reason reason) {
    absl::MutexLock lock(&mu_);
    reason_ = std::move(reason);
  }
  // The same for what no time will mend: who asks ends the process and starts another.
  void WatchLife(Reason hung) {
    absl::MutexLock lock(&mu_);
    hung_ = std::move(hung);
  }
  std::string NotReady() const {
    absl::MutexLock lock(&mu_);
    return reason_();
  }
  std::string Hung() const {
    absl::MutexLock lock(&mu_);
    return hung_();
  }

 private:
  mutable absl::Mutex mu_;
  Reason reason_ ABSL_GUARDED_BY(mu_);
  Reason hung_ ABSL_GUARDED_BY(mu_) = [] { return std::string(); };
};

}  // namespace tactus
