// Time that only ever goes forward, for intervals and deadlines: the wall clock jumps when somebody sets it.
// Thread-safe.
#pragma once

#include <chrono>

#include "absl/time/time.h"

namespace tactus {

// Comparable with its own values in this process alone; no time of day.
inline absl::Time MonotonicNow() {
  return absl::UnixEpoch() + absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
}

inline double SecondsSince(absl::Time start) { return absl::ToDoubleSeconds(MonotonicNow() - start); }

}  // namespace tactus
