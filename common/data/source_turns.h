// Whose turn it is at each place of a run's data, where prompts come from several sources mixed by weight.
//
// Places come in blocks of 1024. Of the places up to the end of a block each source has its share to within one,
// rounded down or up so that all is given; rounded up is who would have to be next. Within a block the turns are
// shuffled. 1024 blocks are a period, after which every share is exact in units of 2^-20 and the rounding begins anew,
// so that place n is a function of (seed, weights, n) that takes the same time for any n.
//
// Not thread-safe: remembers the block it was last asked about. Takes 4 KiB a source.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace tactus {

class SourceTurns {
 public:
  static constexpr uint64_t kBlock = 1024, kBlocks = 1024, kPeriod = kBlock * kBlocks;

  // At least one weight, and each at least a millionth of their sum.
  SourceTurns(uint64_t seed, std::span<const double> weights);

  struct Turn {
    uint32_t source = 0;
    uint64_t number = 0;  // turns that the source had before
  };
  Turn At(uint64_t place);

  // How many of the places before `place` are the source's.
  uint64_t Before(uint64_t place, uint32_t source);

  uint32_t sources() const { return static_cast<uint32_t>(shares_.size()); }

 private:
  void EndBlock(uint64_t block);
  void BeginBlock(uint64_t block);
  // Its turns before the block.
  uint64_t BeforeBlock(uint64_t block, uint32_t source) const;
  // Of the first `blocks` of a period.
  uint32_t& given(uint64_t blocks, size_t source) { return given_[blocks * shares_.size() + source]; }

  const uint64_t seed_;
  std::vector<uint64_t> shares_;  // places of a period
  std::vector<uint32_t> given_;   // [kBlocks + 1, sources]
  uint64_t block_ = 0;
  std::array<uint32_t, kBlock> turns_ = {};  // of block_: whose each is
  std::array<uint32_t, kBlock> ranks_ = {};  // and how many of the block's turns before it are that source's
};

}  // namespace tactus
