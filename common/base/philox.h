// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
//
// A draw is a pure function of its key and counter, so no generator state travels, is saved or is shared: the draw for
// (run seed, prompt, completion, token) is the same on every actor, at any batch size, after any restart.
// Thread-safe: no state.
#pragma once

#include <array>
#include <cstdint>

namespace tactus {

using PhiloxBlock = std::array<uint32_t, 4>;

constexpr PhiloxBlock Philox4x32(uint64_t key, PhiloxBlock counter) {
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * counter[0];
    const uint64_t p1 = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(p1 >> 32) ^ counter[1] ^ k0, static_cast<uint32_t>(p1),
               static_cast<uint32_t>(p0 >> 32) ^ counter[3] ^ k1, static_cast<uint32_t>(p0)};
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return counter;
}

// What a draw is for; part of the counter, so two uses of one token never share a number.
enum class DrawPurpose : uint32_t {
  kSampling = 0,
  kRandomCredit = 1,
  kDataOrder = 2,
  kDataGeneration = 3,
  kInitialisation = 4,
  kShuffledCredit = 5,
  kDifficulty = 6,
  kSourceOrder = 7,
  kContinuation = 8
};

// Four draws for one token of one completion. Counter = {token, completion | purpose << 24, prompt low, prompt high}.
constexpr PhiloxBlock TokenDraw(uint64_t run_seed, uint64_t prompt_id, uint32_t completion, uint32_t token,
                                DrawPurpose purpose) {
  return Philox4x32(run_seed, {token, completion | static_cast<uint32_t>(purpose) << 24,
                               static_cast<uint32_t>(prompt_id), static_cast<uint32_t>(prompt_id >> 32)});
}

// Uniform in [0, 1) with 53 bits, from the first two words of a block.
constexpr double UniformDouble(const PhiloxBlock& block) {
  const uint64_t bits = (uint64_t{block[0]} << 32 | block[1]) >> 11;
  return static_cast<double>(bits) * 0x1.0p-53;
}

}  // namespace tactus
