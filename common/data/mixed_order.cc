#include "common/data/mixed_order.h"

#include <algorithm>

namespace tactus {

MixedOrder::MixedOrder(uint64_t seed, std::span<const double> weights, std::span<const uint64_t> sizes)
    : turns_(seed, weights) {
  uint64_t start = 0;
  for (const uint64_t size : sizes) {
    starts_.push_back(start);
    orders_.emplace_back(seed, size, static_cast<uint32_t>(orders_.size()));
    start += size;
  }
}

MixedOrder::Place MixedOrder::At(uint64_t place) {
  const SourceTurns::Turn turn = turns_.At(place);
  return {.source = turn.source, .element = starts_[turn.source] + orders_[turn.source].At(turn.number)};
}

std::vector<uint32_t> MixedOrder::Reached(uint64_t places) {
  std::vector<uint32_t> reached;
  for (uint32_t source = 0; source < turns_.sources(); ++source) {
    // A whole pass reaches all.
    const uint64_t turns = std::min(turns_.Before(places, source), orders_[source].size());
    for (uint64_t i = 0; i < turns; ++i) {
      reached.push_back(static_cast<uint32_t>(starts_[source] + orders_[source].At(i)));
    }
  }
  std::ranges::sort(reached);
  return reached;
}

}  // namespace tactus
