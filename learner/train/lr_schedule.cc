#include "learner/train/lr_schedule.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numbers>

namespace tactus {

double LrSchedule::At(int64_t step) const {
  if (step < warmup_steps) return lr * static_cast<double>(step + 1) / static_cast<double>(warmup_steps);
  switch (shape) {
    case Shape::kConstant:
      return lr;
    case Shape::kCosine: {
      const double span = static_cast<double>(std::max<int64_t>(1, total_steps - warmup_steps));
      const double progress = std::min(1.0, static_cast<double>(step - warmup_steps) / span);
      const double cosine = 0.5 * (1 + std::cos(std::numbers::pi * progress));
      return lr * (min_lr_ratio + (1 - min_lr_ratio) * cosine);
    }
  }
  std::abort();
}

}  // namespace tactus
