// The order in which a run visits the elements of its sources: whose turn it is (source_turns.h), and within a source
// every pass a new shuffle (shuffled_order.h). Place n is a function of (seed, weights, sizes, n); with one source it
// is that of ShuffledOrder. Not thread-safe, as those.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/data/shuffled_order.h"
#include "common/data/source_turns.h"

namespace tactus {

class MixedOrder {
 public:
  // As many sizes as weights, each above 0, below 2^32 together; weights as SourceTurns'.
  MixedOrder(uint64_t seed, std::span<const double> weights, std::span<const uint64_t> sizes);

  struct Place {
    uint32_t source = 0;
    uint64_t element = 0;  // of all sources' elements, end to end
  };
  Place At(uint64_t place);

  // The elements that the first `places` hold, increasing.
  std::vector<uint32_t> Reached(uint64_t places);

 private:
  SourceTurns turns_;
  std::vector<ShuffledOrder> orders_;
  std::vector<uint64_t> starts_;  // the first element of each source
};

}  // namespace tactus
