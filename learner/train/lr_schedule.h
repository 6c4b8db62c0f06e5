// The learning rate of each optimizer step: a linear warm-up, then constant, or down to a floor.
// Pure: thread-safe.
#pragma once

#include <cstdint>
#include <string>

namespace tactus {

struct LrSchedule {
  enum class Shape { kConstant, kCosine, kLinear, kWsd };
  double lr = 1e-6;  // at the end of the warm-up
  int64_t warmup_steps = 0;
  Shape shape = Shape::kConstant;
  double min_lr_ratio = 0.1;  // the floor as a share of lr
  int64_t total_steps = 1;    // where the floor is reached, and kept
  int64_t decay_steps = 0;    // kWsd: before total_steps, where it falls

  // step counts from 0. Step k of the warm-up has lr * (k + 1) / warmup_steps: never 0, and lr at its last.
  double At(int64_t step) const;

 private:
  double Fallen(double share) const;  // `share` of the way from the floor to lr
};

// One sentence when a run that has made `step` updates as `before` goes on as `now` with another rate, as when a
// schedule is stretched over more steps; else empty.
std::string RateJump(const LrSchedule& before, const LrSchedule& now, int64_t step);

}  // namespace tactus
