// Why a process cannot do its work at the moment, as /readyz tells it. Thread-safe.
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
  std::string NotReady() const {
    absl::MutexLock lock(&mu_);
    return reason_();
  }

 private:
  mutable absl::Mutex mu_;
  Reason reason_ ABSL_GUARDED_BY(mu_);
};

}  // namespace tactus
