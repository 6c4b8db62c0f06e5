#include "learner/train/lr_schedule.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numbers>

#include "absl/strings/str_format.h"

namespace tactus {

namespace {

// 0 up to `begin`, 1 from `end` on.
double Progress(int64_t begin, int64_t end, int64_t step) {
  const double span = static_cast<double>(std::max<int64_t>(1, end - begin));
  return std::clamp(static_cast<double>(step - begin) / span, 0.0, 1.0);
}

}  // namespace

double LrSchedule::Fallen(double share) const { return lr * (min_lr_ratio + (1 - min_lr_ratio) * share); }

double LrSchedule::At(int64_t step) const {
  if (step < warmup_steps) return lr * static_cast<double>(step + 1) / static_cast<double>(warmup_steps);
  switch (shape) {
    case Shape::kConstant:
      return lr;
    case Shape::kCosine:
      return Fallen(0.5 * (1 + std::cos(std::numbers::pi * Progress(warmup_steps, total_steps, step))));
    case Shape::kLinear:
      return Fallen(1 - Progress(warmup_steps, total_steps, step));
    case Shape::kWsd:
      return Fallen(1 - Progress(std::max(warmup_steps, total_steps - decay_steps), total_steps, step));
  }
  std::abort();
}

std::string RateJump(const LrSchedule& before, const LrSchedule& now, int64_t step) {
  constexpr double kNoticed = 0.1;  // of the rate
  const double old_rate = before.At(step), new_rate = now.At(step);
  if (std::abs(new_rate - old_rate) <= kNoticed * old_rate) return "";
  return absl::StrFormat(
      "the learning rate goes on with %.3g after %d updates, where %.3g was planned: optimizer.schedule ends with "
      "the run, whose updates learner.steps has changed from %d to %d. To keep a rate, take CONSTANT in a new run from "
      "this one's checkpoint.",
      new_rate, step, old_rate, before.total_steps, now.total_steps);
}

}  // namespace tactus
