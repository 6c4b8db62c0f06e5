// Which of 64 bfloat16 numbers belong to which class, as bits: the work that a delta costs for every weight, changed or
// not. Pure functions; thread-safe.
#pragma once

#include <array>
#include <cstdint>

namespace tactus {

inline constexpr int kMaskElements = 64;
// Numbers are told apart by their exponent: class 0 holds those of `top` and above, class c those of top - c, the last
// class everything smaller. A larger exponent has a coarser grid, so one small update changes it more rarely.
inline constexpr int kExponentClasses = 8;

inline int ExponentOf(uint16_t bits) { return (bits >> 7) & 0xff; }

// masks[c] has bit i set where numbers[i] is of class c. `numbers` has 64 elements.
using ClassMasks = std::array<uint64_t, kExponentClasses>;
using ClassMasksFn = void (*)(const uint16_t* numbers, int top, ClassMasks& masks);
// Bit i is set where a[i] and b[i] differ. Both have 64 elements.
using ChangedMaskFn = uint64_t (*)(const uint16_t* a, const uint16_t* b);
// The place of the set bit of `mask` that has `rank` set bits below it; there is one.
using SelectBitFn = int (*)(uint64_t mask, int rank);

struct MaskKernels {
  ClassMasksFn class_masks;
  ChangedMaskFn changed;
  SelectBitFn select_bit;
};

// Any machine's; AVX2's with BMI2, where this one has it; and the best there is here. Equal results.
const MaskKernels& PortableMaskKernels();
const MaskKernels* Avx2MaskKernels();
const MaskKernels& BestMaskKernels();

}  // namespace tactus
