// Compiled for AVX2 with BMI2; empty elsewhere.
#if defined(__AVX2__)
#include <immintrin.h>

#include "common/weights/delta/element_masks_x86.h"

namespace tactus {
namespace {

inline __m256i Load(const uint16_t* at) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)); }

inline __m256i Exponents(const uint16_t* at) {
  return _mm256_and_si256(_mm256_srli_epi16(Load(at), 7), _mm256_set1_epi16(0xff));
}

// pack interleaves the two registers' halves of 128 bits; this puts them back in order.
inline __m256i InOrder(__m256i packed) { return _mm256_permute4x64_epi64(packed, 0xd8); }

// The exponents of 32 numbers, a byte each.
inline __m256i ExponentBytes(const uint16_t* at) {
  return InOrder(_mm256_packus_epi16(Exponents(at), Exponents(at + 16)));
}

// Bit i is set where byte i is at most that of `cut`.
inline uint32_t AtMost(__m256i bytes, __m256i cut) {
  return static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_min_epu8(bytes, cut), bytes)));
}

inline void MasksOf(const uint16_t* numbers, const ClassCuts& cuts, ClassMasks& masks) {
  const __m256i low = ExponentBytes(numbers), high = ExponentBytes(numbers + 32);
  uint64_t left = ~uint64_t{0};
  for (size_t c = 0; c < cuts.size(); ++c) {
    const __m256i cut = _mm256_set1_epi8(static_cast<char>(cuts[c]));
    const uint64_t below = AtMost(low, cut) | uint64_t{AtMost(high, cut)} << 32;
    masks[c] = left & ~below;
    left = below;
  }
  masks[cuts.size()] = left;
}

// Bit i is set where numbers i, of 32, are the same.
inline uint32_t Same(const uint16_t* a, const uint16_t* b) {
  const __m256i low = _mm256_cmpeq_epi16(Load(a), Load(b)), high = _mm256_cmpeq_epi16(Load(a + 16), Load(b + 16));
  return static_cast<uint32_t>(_mm256_movemask_epi8(InOrder(_mm256_packs_epi16(low, high))));
}

inline uint64_t ChangedOf(const uint16_t* before, const uint16_t* after) {
  return ~(Same(before, after) | uint64_t{Same(before + 32, after + 32)} << 32);
}

}  // namespace
}  // namespace tactus

#include "common/weights/delta/element_walk.inc"

namespace tactus {

const MaskKernels& Avx2MaskKernelsUnchecked() { return kKernels; }

}  // namespace tactus
#endif
