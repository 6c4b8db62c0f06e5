// A shuffle that is a function of its key alone. Thread-safe: no state.
#pragma once

#include <cstdint>
#include <span>
#include <utility>

#include "common/base/philox.h"

namespace tactus {

// Fisher and Yates. The draw for position i picks among i + 1 by the high half of a product, whose bias of
// (i + 1) / 2^64 nobody can see. Below 2^32 items; stream < 2^24.
template <typename T>
void Shuffle(std::span<T> items, uint64_t seed, uint64_t pass, uint32_t stream, DrawPurpose purpose) {
  __extension__ typedef unsigned __int128 WideProduct;
  for (uint64_t i = items.size(); i-- > 1;) {
    const PhiloxBlock block = TokenDraw(seed, pass, stream, static_cast<uint32_t>(i), purpose);
    const uint64_t bits = uint64_t{block[0]} << 32 | block[1];
    const uint64_t j = static_cast<uint64_t>(static_cast<WideProduct>(bits) * (i + 1) >> 64);
    std::swap(items[i], items[j]);
  }
}

}  // namespace tactus
