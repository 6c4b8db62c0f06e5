#include "common/data/shuffled_order.h"

#include <numeric>
#include <utility>

#include "common/base/philox.h"

namespace tactus {
namespace {

__extension__ typedef unsigned __int128 WideProduct;

}  // namespace

ShuffledOrder::ShuffledOrder(uint64_t seed, uint64_t size) : seed_(seed), order_(size) { Shuffle(0); }

uint64_t ShuffledOrder::At(uint64_t place) {
  const uint64_t pass = place / order_.size();
  if (pass != pass_) Shuffle(pass);
  return order_[place % order_.size()];
}

// Fisher and Yates. The draw for position i picks among i + 1 by the high half of a product, whose bias of
// (i + 1) / 2^64 nobody can see.
void ShuffledOrder::Shuffle(uint64_t pass) {
  pass_ = pass;
  std::iota(order_.begin(), order_.end(), 0u);
  for (uint64_t i = order_.size() - 1; i > 0; --i) {
    const PhiloxBlock block = TokenDraw(seed_, pass, 0, static_cast<uint32_t>(i), DrawPurpose::kDataOrder);
    const uint64_t bits = uint64_t{block[0]} << 32 | block[1];
    const uint64_t j = static_cast<uint64_t>(static_cast<WideProduct>(bits) * (i + 1) >> 64);
    std::swap(order_[i], order_[j]);
  }
}

}  // namespace tactus
