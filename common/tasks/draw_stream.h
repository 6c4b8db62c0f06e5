// A sequence of generated numbers for one item of a data set: a pure function of (seed, kind, item).
// Not thread-safe; cheap to make where it is needed.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/base/philox.h"

namespace tactus {

// What a stream is for, so that no two uses share their draws.
enum class DataKind : uint32_t { kTest = 0, kTrain = 1, kTrace = 2 };

class DrawStream {
 public:
  DrawStream(uint64_t seed, DataKind kind, uint64_t item) : seed_(seed), kind_(kind), item_(item) {}

  // Uniform in [0, n), n >= 1, by multiply and shift: the bias is below n / 2^32.
  uint32_t Below(uint32_t n) {
    if (used_ == block_.size()) {
      block_ = TokenDraw(seed_, item_, static_cast<uint32_t>(kind_), blocks_++, DrawPurpose::kDataGeneration);
      used_ = 0;
    }
    return static_cast<uint32_t>(uint64_t{block_[used_++]} * n >> 32);
  }

  // Uniform in [low, high].
  int64_t Between(int64_t low, int64_t high) { return low + Below(static_cast<uint32_t>(high - low + 1)); }

 private:
  uint64_t seed_;
  DataKind kind_;
  uint64_t item_;
  uint32_t blocks_ = 0;
  PhiloxBlock block_ = {};
  size_t used_ = 4;  // words of block_ handed out
};

}  // namespace tactus
