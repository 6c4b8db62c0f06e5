#include "common/base/back_off.h"

#include <algorithm>
#include <random>

namespace tactus {

absl::Duration BackOff::Next() {
  constexpr int kMaxDoublings = 30;
  const absl::Duration pause = std::min(longest_, first_ * (int64_t{1} << std::min(failures_, kMaxDoublings)));
  ++failures_;
  if (!jitter_) return pause;
  thread_local std::minstd_rand random(std::random_device{}());
  return pause * std::uniform_real_distribution<double>(0.5, 1.0)(random);
}

}  // namespace tactus
