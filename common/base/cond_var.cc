#include "common/base/cond_var.h"

#include <algorithm>
#include <chrono>

#include "common/base/monotonic_clock.h"

namespace tactus {
namespace {

constexpr absl::Duration kLongest = absl::Hours(24 * 365);  // within the range of every clock

// absl::Mutex under the names that the standard library calls.
struct Lockable {
  absl::Mutex* mu;
  void lock() ABSL_NO_THREAD_SAFETY_ANALYSIS { mu->Lock(); }
  void unlock() ABSL_NO_THREAD_SAFETY_ANALYSIS { mu->Unlock(); }
};

}  // namespace

bool CondVar::WaitFor(absl::Mutex* mu, absl::Duration timeout) {
  Lockable lockable = {mu};
  const auto deadline = std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(std::min(timeout, kLongest));
  return changed_.wait_until(lockable, deadline) == std::cv_status::timeout;
}

bool CondVar::AwaitFor(absl::Mutex* mu, absl::Duration timeout, absl::FunctionRef<bool()> holds) {
  const absl::Time deadline = MonotonicNow() + timeout;
  while (!holds()) {
    const absl::Duration left = deadline - MonotonicNow();
    if (left <= absl::ZeroDuration()) return false;
    WaitFor(mu, left);
  }
  return true;
}

}  // namespace tactus
