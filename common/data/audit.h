// Which groups carry their raw attention metrics to the learner. Pure; thread-safe.
#pragma once

#include <cstdint>

#include "common/base/decimal.h"

namespace tactus {

// True for an evenly spread `share` of the prompt ids: where floor((id + 1) * share) > floor(id * share), exactly. So
// every restart and every actor chooses the same groups, and a batch of P prompts in a row has at least
// floor(P * share) of them.
inline bool Audited(uint64_t prompt_id, Decimal share) {
  const auto denominator = static_cast<uint64_t>(share.denominator()),
             numerator = static_cast<uint64_t>(share.numerator());
  // What id * share is above a whole number, in 1 / denominator; both factors are at most 10^9.
  const uint64_t rest = prompt_id % denominator * numerator % denominator;
  return rest + numerator >= denominator;
}

}  // namespace tactus
