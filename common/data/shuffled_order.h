// The order in which a data set is visited: every pass is a new shuffle, and place n is a pure function of
// (seed, size, n), so a data cursor is one number and a resumed run sees what it would have seen.
// Not thread-safe: remembers the permutation of the pass it was last asked about.
#pragma once

#include <cstdint>
#include <vector>

namespace tactus {

class ShuffledOrder {
 public:
  // size > 0.
  ShuffledOrder(uint64_t seed, uint64_t size);

  // Which element stands at `place` of the endless sequence.
  uint64_t At(uint64_t place);

 private:
  void Shuffle(uint64_t pass);

  const uint64_t seed_;
  std::vector<uint32_t> order_;  // of pass_
  uint64_t pass_ = 0;
};

}  // namespace tactus
