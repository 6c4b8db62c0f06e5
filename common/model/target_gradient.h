// What a loss sends back into a decoder's targets.
#pragma once

#include <algorithm>
#include <span>

namespace tactus {

// d loss / d log-prob [N] of each target and d loss / d entropy [N] of the distribution that it is of, at temperature
// 1; the latter may be empty, for 0. A view.
struct TargetGradient {
  std::span<const float> logprobs;
  std::span<const float> entropies = {};

  bool zero() const {
    const auto none = [](float slope) { return slope == 0.0f; };
    return std::ranges::all_of(logprobs, none) && std::ranges::all_of(entropies, none);
  }
};

}  // namespace tactus
