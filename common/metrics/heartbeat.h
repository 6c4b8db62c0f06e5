// Notices that a loop stands still: what it does is timed, and when it has done nothing for ten times the longest work
// before, and an hour at least, it hangs. Before the first work has ended nothing is known of it, and nothing is said.
// Work with a deadline of its own hangs when somebody who watches it says so, for good.
// Thread-safe.
#pragma once

#include <algorithm>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/monotonic_clock.h"

namespace tactus {

class Heartbeat {
 public:
  static constexpr absl::Duration kLeast = absl::Hours(1);

  // The loop has waited, which may take as long as it likes in slices, each told.
  void Waited(absl::Time now = MonotonicNow()) {
    absl::MutexLock lock(&mu_);
    last_ = now;
  }
  // It has worked since the last call of either.
  void Worked(absl::Time now = MonotonicNow()) {
    absl::MutexLock lock(&mu_);
    longest_ = std::max(longest_.value_or(absl::ZeroDuration()), now - last_);
    last_ = now;
  }
  // `what` has exceeded its deadline: one line for people. The first counts.
  void Overdue(const std::string& what) {
    absl::MutexLock lock(&mu_);
    if (overdue_.empty()) overdue_ = what;
  }
  // Empty = it goes on; otherwise one line for people.
  std::string Hung(absl::Time now = MonotonicNow()) const {
    absl::MutexLock lock(&mu_);
    if (!overdue_.empty()) return overdue_;
    if (!longest_.has_value() || now - last_ <= std::max(kLeast, 10 * *longest_)) return "";
    return absl::StrCat("no progress for ", absl::FormatDuration(absl::Trunc(now - last_, absl::Seconds(1))),
                        "; the longest step took ",
                        absl::FormatDuration(absl::Trunc(*longest_, absl::Milliseconds(1))));
  }

 private:
  mutable absl::Mutex mu_;
  absl::Time last_ ABSL_GUARDED_BY(mu_) = MonotonicNow();
  std::optional<absl::Duration> longest_ ABSL_GUARDED_BY(mu_);
  std::string overdue_ ABSL_GUARDED_BY(mu_);
};

}  // namespace tactus
