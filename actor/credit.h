// From what was seen while sampling to one credit weight per token: the seam where strategies plug in.
//
// A weight multiplies the token's advantage at the learner; 1.0 is neutral. Counts are exact: Top(x, q) chooses
// ⌊q·N⌋ of N positions (at least 1), ties to the earlier one.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/decimal.h"
#include "proto/config.pb.h"

namespace tactus {

// What is known about one completion of N tokens. A strategy reads what it needs.
struct CreditSignals {
  uint64_t seed = 0;  // with the next two: keys the random control
  uint64_t prompt_id = 0;
  uint32_t completion_index = 0;
  std::span<const float> entropy;  // [N] of the distribution each token was drawn from, nats
};

// Immutable, thread-safe. A pure function of the signals.
class CreditStrategy {
 public:
  virtual ~CreditStrategy() = default;
  virtual std::vector<float> Weights(const CreditSignals& signals) const = 0;  // [N]
};

// `options` is resolved. InvalidArgument names the field; Unimplemented: a strategy that reads attention.
absl::StatusOr<std::unique_ptr<CreditStrategy>> CreateCreditStrategy(const config::CreditOptions& options);

// The chosen positions, in increasing order: the max(1, share.FloorOf(N)) largest values, ties to the earlier.
std::vector<int32_t> TopPositions(std::span<const double> values, Decimal share);

}  // namespace tactus
