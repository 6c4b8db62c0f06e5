// The order in which a data set is visited: every pass is a new shuffle, and place n is a pure function of
// (seed, stream, size, n), so a data cursor is one number and a resumed run sees what it would have seen.
// Not thread-safe: remembers the permutation of the pass it was last asked about.
#pragma once

#include <cstdint>
#include <vector>

namespace tactus {

class ShuffledOrder {
 public:
  // size > 0. Data sets of one run that are of the same size differ in `stream`, below 2^24.
  ShuffledOrder(uint64_t seed, uint64_t size, uint32_t stream = 0);

  // Which element stands at `place` of the endless sequence.
  uint64_t At(uint64_t place);

  uint64_t size() const { return order_.size(); }

 private:
  void BeginPass(uint64_t pass);

  const uint64_t seed_;
  const uint32_t stream_;
  std::vector<uint32_t> order_;  // of pass_
  uint64_t pass_ = 0;
};

}  // namespace tactus
