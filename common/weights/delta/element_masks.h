// Which bfloat16 numbers belong to which class, 64 at a time, as bits: the work that a delta costs for every weight,
// changed or not. Pure functions; thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace tactus {

inline constexpr int kMaskElements = 64;
// Numbers are told apart by their exponent: class c holds those of at most cuts[c - 1] and more than cuts[c], the first
// and the last class whatever is above and below. Cuts do not rise, and two equal ones leave a class empty. A larger
// exponent has a coarser grid, so one small update changes it more rarely.
inline constexpr int kExponentClasses = 8;
using ClassCuts = std::array<uint8_t, kExponentClasses - 1>;
using ClassMasks = std::array<uint64_t, kExponentClasses>;
using ClassCounts = std::array<int64_t, kExponentClasses>;

inline int ExponentOf(uint16_t bits) { return (bits >> 7) & 0xff; }

// Where a walk over chunks of 64 numbers has stopped.
struct ChunkWalk {
  ClassMasks masks;    // masks[c] has bit i set where the chunk's number i is of class c
  ClassCounts here;    // how many that are
  ClassCounts seen{};  // numbers of each class in the chunks before
  void Pass() {
    for (size_t c = 0; c < seen.size(); ++c) seen[c] += here[c];
  }
};

// Walks over `chunks` chunks from numbers[0], adding to walk.seen what it passes, and stops at the first chunk that
// holds number next[c] of some class c, counted from 0. Returns which chunk that is; `chunks`: none.
using WalkToNextFn = size_t (*)(const uint16_t* numbers, size_t chunks, const ClassCuts& cuts, const ClassCounts& next,
                                ChunkWalk& walk);
// Likewise, to the first chunk of `before` that differs from that of `after`: bit i of `changed` is set where number i
// does.
using WalkToChangeFn = size_t (*)(const uint16_t* before, const uint16_t* after, size_t chunks, const ClassCuts& cuts,
                                  ChunkWalk& walk, uint64_t& changed);
// The place of the set bit of `mask` that has `rank` set bits below it, where there is one; and the bits set below a
// place.
using SelectBitFn = int (*)(uint64_t mask, int rank);
using RankOfBitFn = int (*)(uint64_t mask, int place);

struct MaskKernels {
  WalkToNextFn walk_to_next;
  WalkToChangeFn walk_to_change;
  SelectBitFn select_bit;
  RankOfBitFn rank_of_bit;
};

// Any machine's; those of AVX2 and of AVX-512, where this one has them; and the best there is here. Equal results.
const MaskKernels& PortableMaskKernels();
const MaskKernels* Avx2MaskKernels();
const MaskKernels* Avx512MaskKernels();
const MaskKernels& BestMaskKernels();

}  // namespace tactus
