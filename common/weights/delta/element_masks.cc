#include "common/weights/delta/element_masks.h"

#include <bit>
#include <cstring>

#include "common/weights/delta/element_masks_x86.h"

namespace tactus {
namespace {

void MasksOf(const uint16_t* numbers, const ClassCuts& cuts, ClassMasks& masks) {
  masks.fill(0);
  for (int i = 0; i < kMaskElements; ++i) {
    size_t of = 0;
    while (of < cuts.size() && ExponentOf(numbers[i]) <= int{cuts[of]}) ++of;
    masks[of] |= uint64_t{1} << i;
  }
}

uint64_t ChangedOf(const uint16_t* before, const uint16_t* after) {
  if (std::memcmp(before, after, kMaskElements * sizeof(*before)) == 0) return 0;
  uint64_t changed = 0;
  for (int i = 0; i < kMaskElements; ++i) changed |= uint64_t{before[i] != after[i]} << i;
  return changed;
}

int SelectBit(uint64_t mask, int rank) {
  for (; rank > 0; --rank) mask &= mask - 1;
  return std::countr_zero(mask);
}

}  // namespace
}  // namespace tactus

#include "common/weights/delta/element_walk.inc"

namespace tactus {

const MaskKernels& PortableMaskKernels() { return kKernels; }

#if defined(__x86_64__)
const MaskKernels* Avx2MaskKernels() {
  static const bool have =
      __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt");
  return have ? &Avx2MaskKernelsUnchecked() : nullptr;
}

const MaskKernels* Avx512MaskKernels() {
  static const bool have =
      Avx2MaskKernels() != nullptr && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  return have ? &Avx512MaskKernelsUnchecked() : nullptr;
}
#else
const MaskKernels* Avx2MaskKernels() { return nullptr; }
const MaskKernels* Avx512MaskKernels() { return nullptr; }
#endif

const MaskKernels& BestMaskKernels() {
  for (const MaskKernels* const kernels : {Avx512MaskKernels(), Avx2MaskKernels()}) {
    if (kernels != nullptr) return *kernels;
  }
  return PortableMaskKernels();
}

}  // namespace tactus
