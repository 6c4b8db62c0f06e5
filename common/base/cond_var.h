// The condition variable of all waits that have a bound. Abseil's own timed waits end at a time of the wall clock: set
// back by an hour, a wait of a second lasts an hour longer. These go by the monotonic clock. scripts/check/clocks.py
// lets no other in.
#pragma once

#include <condition_variable>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace tactus {

// Thread-safe. All waiters at one time use one mutex. Who changes what others wait for calls SignalAll, best while it
// still holds the mutex.
class CondVar {
 public:
  // Releases `mu` until a signal, or for `timeout` at the most, and takes it again. May return early. True: time is
  // over.
  bool WaitFor(absl::Mutex* mu, absl::Duration timeout) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // Waits until `holds`, which is called with `mu` held: now and after each signal. False: it did not within `timeout`.
  bool AwaitFor(absl::Mutex* mu, absl::Duration timeout, absl::FunctionRef<bool()> holds)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  void SignalAll() { changed_.notify_all(); }

 private:
  std::condition_variable_any changed_;
};

}  // namespace tactus
