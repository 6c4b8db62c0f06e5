// Pauses between tries of something that may pass: they double up to a bound. Not thread-safe.
#pragma once

#include "absl/time/time.h"

namespace tactus {

class BackOff {
 public:
  // With jitter each pause is drawn from its upper half, so that many processes do not come back at once.
  BackOff(absl::Duration first, absl::Duration longest, bool jitter)
      : first_(first), longest_(longest), jitter_(jitter) {}

  // The pause after one more failure.
  absl::Duration Next();
  // The next failure is a first one again.
  void Reset() { failures_ = 0; }
  int failures() const { return failures_; }  // since the last Reset

 private:
  absl::Duration first_;
  absl::Duration longest_;
  bool jitter_;
  int failures_ = 0;
};

}  // namespace tactus
