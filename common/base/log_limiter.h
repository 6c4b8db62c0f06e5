// How many lines of one kind may be logged, where somebody else decides how often there is reason to: a peer that
// misbehaves a thousand times a second must not fill the disk. `burst` at once, then `per_second`. Not thread-safe.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace tactus {

class LogLimiter {
 public:
  LogLimiter(double burst, double per_second) : burst_(burst), per_second_(per_second), tokens_(burst) {}

  // Whether to log now; `now` of any monotonic clock.
  bool Allow(absl::Duration now) {
    tokens_ = std::min(burst_, tokens_ + per_second_ * absl::ToDoubleSeconds(now - last_));
    last_ = now;
    if (tokens_ < 1) {
      ++left_out_;
      return false;
    }
    tokens_ -= 1;
    return true;
  }

  // For the end of the line that Allow let through: " (12 more were not logged)", once.
  std::string LeftOut() {
    const int64_t count = left_out_;
    left_out_ = 0;
    return count == 0 ? "" : absl::StrCat(" (", count, " more were not logged)");
  }

 private:
  const double burst_, per_second_;
  double tokens_;
  absl::Duration last_;
  int64_t left_out_ = 0;
};

}  // namespace tactus
