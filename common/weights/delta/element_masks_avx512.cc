// Compiled for AVX-512 (F, BW, VL) with BMI2; empty elsewhere.
#if defined(__AVX512BW__)
#include <immintrin.h>

#include "common/weights/delta/element_masks_x86.h"

namespace tactus {
namespace {

inline __m512i Load(const uint16_t* at) { return _mm512_loadu_si512(at); }

// The exponents of 32 numbers, a byte each: what the sign leaves above a byte is cut off.
inline __m256i ExponentBytes(const uint16_t* at) { return _mm512_cvtepi16_epi8(_mm512_srli_epi16(Load(at), 7)); }

inline void MasksOf(const uint16_t* numbers, const ClassCuts& cuts, ClassMasks& masks) {
  const __m512i exponents =
      _mm512_inserti64x4(_mm512_castsi256_si512(ExponentBytes(numbers)), ExponentBytes(numbers + 32), 1);
  uint64_t left = ~uint64_t{0};
  for (size_t c = 0; c < cuts.size(); ++c) {
    const uint64_t below = _mm512_cmple_epu8_mask(exponents, _mm512_set1_epi8(static_cast<char>(cuts[c])));
    masks[c] = left & ~below;
    left = below;
  }
  masks[cuts.size()] = left;
}

inline uint64_t ChangedOf(const uint16_t* before, const uint16_t* after) {
  return _mm512_cmpneq_epu16_mask(Load(before), Load(after)) |
         uint64_t{_mm512_cmpneq_epu16_mask(Load(before + 32), Load(after + 32))} << 32;
}

}  // namespace
}  // namespace tactus

#include "common/weights/delta/element_walk.inc"

namespace tactus {

const MaskKernels& Avx512MaskKernelsUnchecked() { return kKernels; }

}  // namespace tactus
#endif
