#include "common/data/source_turns.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "common/data/shuffle.h"

namespace tactus {
namespace {

// Whole places of a period: rounded down, and what is left to those with the largest remainders, the first of equals.
std::vector<uint64_t> SharesOf(std::span<const double> weights) {
  const double all = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::vector<uint64_t> shares;
  std::vector<std::pair<double, size_t>> remainders;
  for (size_t i = 0; i < weights.size(); ++i) {
    const double quota = weights[i] / all * static_cast<double>(SourceTurns::kPeriod);
    shares.push_back(static_cast<uint64_t>(quota));
    remainders.emplace_back(std::floor(quota) - quota, i);
  }
  std::ranges::sort(remainders);
  const uint64_t given = std::accumulate(shares.begin(), shares.end(), uint64_t{0});
  for (uint64_t i = 0; i < SourceTurns::kPeriod - given; ++i) ++shares[remainders[i].second];
  return shares;
}

}  // namespace

SourceTurns::SourceTurns(uint64_t seed, std::span<const double> weights)
    : seed_(seed), shares_(SharesOf(weights)), given_((kBlocks + 1) * shares_.size()) {
  for (uint64_t block = 1; block <= kBlocks; ++block) EndBlock(block);
  BeginBlock(0);
}

// A turn of a source is a job that may be done once its share has grown beyond the turns before it, and must be by the
// block at whose end the share is a whole turn more. Shares grow evenly and fill each block, so all deadlines can be
// met; earliest deadline first, for jobs of one length, then meets them.
void SourceTurns::EndBlock(uint64_t block) {
  uint64_t left = block * kBlock;
  std::vector<std::pair<uint64_t, size_t>> deadlines;
  for (size_t i = 0; i < shares_.size(); ++i) {
    const uint64_t due = block * shares_[i];  // in units of 1 / kBlocks
    const uint64_t least = std::max<uint64_t>(given(block - 1, i), due / kBlocks);
    given(block, i) = static_cast<uint32_t>(least);
    left -= least;
    if (least * kBlocks < due) deadlines.emplace_back(((least + 1) * kBlocks + shares_[i] - 1) / shares_[i], i);
  }
  std::ranges::sort(deadlines);
  for (uint64_t i = 0; i < left; ++i) ++given(block, deadlines[i].second);
}

uint64_t SourceTurns::BeforeBlock(uint64_t block, uint32_t source) const {
  return block / kBlocks * shares_[source] + given_[block % kBlocks * shares_.size() + source];
}

void SourceTurns::BeginBlock(uint64_t block) {
  block_ = block;
  size_t filled = 0;
  for (uint32_t source = 0; source < sources(); ++source) {
    const uint64_t count = BeforeBlock(block + 1, source) - BeforeBlock(block, source);
    std::fill_n(turns_.begin() + static_cast<ptrdiff_t>(filled), count, source);
    filled += count;
  }
  Shuffle(std::span<uint32_t>(turns_), seed_, block, 0, DrawPurpose::kSourceOrder);
  std::vector<uint32_t> so_far(shares_.size());
  for (size_t i = 0; i < kBlock; ++i) ranks_[i] = so_far[turns_[i]]++;
}

SourceTurns::Turn SourceTurns::At(uint64_t place) {
  if (place / kBlock != block_) BeginBlock(place / kBlock);
  const uint32_t source = turns_[place % kBlock];
  return {.source = source, .number = BeforeBlock(block_, source) + ranks_[place % kBlock]};
}

uint64_t SourceTurns::Before(uint64_t place, uint32_t source) {
  if (place / kBlock != block_) BeginBlock(place / kBlock);
  const auto end = turns_.begin() + static_cast<ptrdiff_t>(place % kBlock);
  return BeforeBlock(block_, source) + static_cast<uint64_t>(std::count(turns_.begin(), end, source));
}

}  // namespace tactus
