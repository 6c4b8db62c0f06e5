#include "common/data/shuffled_order.h"

#include <numeric>

#include "common/data/shuffle.h"

namespace tactus {

ShuffledOrder::ShuffledOrder(uint64_t seed, uint64_t size, uint32_t stream)
    : seed_(seed), stream_(stream), order_(size) {
  BeginPass(0);
}

uint64_t ShuffledOrder::At(uint64_t place) {
  const uint64_t pass = place / order_.size();
  if (pass != pass_) BeginPass(pass);
  return order_[place % order_.size()];
}

void ShuffledOrder::BeginPass(uint64_t pass) {
  pass_ = pass;
  std::iota(order_.begin(), order_.end(), 0u);
  Shuffle(std::span<uint32_t>(order_), seed_, pass, stream_, DrawPurpose::kDataOrder);
}

}  // namespace tactus
