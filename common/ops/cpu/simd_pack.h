// What packing needs beyond simd.h: bf16 pairs and transposes. Included only by kernels_*.cc, like it.
#pragma once

#include "common/ops/cpu/simd.h"

namespace tactus::ops::TACTUS_ISA {

#if defined(__AVX512F__)

// Lanes 1 0 3 2 ... of a.
inline F16 SwapNeighbours(F16 a) { return {_mm512_permute_ps(a.v, 0xB1)}; }
// Each lane holds two bf16 numbers: the one in the upper bits, and the one in the lower bits, as float32.
inline F16 HighBf16(F16 a) {
  return {_mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(a.v), _mm512_set1_epi32(-65536)))};
}
inline F16 LowBf16(F16 a) { return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(a.v), 16))}; }
// The nearest bf16 number, ties to even; NaN stays NaN.
inline F16 RoundToBf16(F16 a) {
  const __m512i bits = _mm512_castps_si512(a.v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
  const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
  const __mmask16 nan = _mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q);
  return HighBf16({_mm512_castsi512_ps(_mm512_mask_mov_epi32(rounded, nan, quiet))});
}
// Pairs of two rounded rows: HighBf16 of the result is `high`, LowBf16 is `low`.
inline F16 JoinBf16(F16 high, F16 low) {
  const __m512i upper = _mm512_castps_si512(high.v), lower = _mm512_srli_epi32(_mm512_castps_si512(low.v), 16);
  return {_mm512_castsi512_ps(_mm512_or_si512(upper, lower))};
}
// rows[i] lane j becomes rows[j] lane i.
inline void Transpose(F16 (&rows)[kLanes]) {
  __m512 t[kLanes], u[kLanes];
  for (int i = 0; i < 8; ++i) {
    t[2 * i] = _mm512_unpacklo_ps(rows[2 * i].v, rows[2 * i + 1].v);
    t[2 * i + 1] = _mm512_unpackhi_ps(rows[2 * i].v, rows[2 * i + 1].v);
  }
  for (int i = 0; i < 4; ++i) {  // u[4i + j]: column j of each 128-bit lane, rows 4i to 4i + 3
    for (int j = 0; j < 2; ++j) {
      const __m512d low = _mm512_castps_pd(t[4 * i + j]), high = _mm512_castps_pd(t[4 * i + 2 + j]);
      u[4 * i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, high));
      u[4 * i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, high));
    }
  }
  for (int j = 0; j < 4; ++j) {
    const __m512 a = _mm512_shuffle_f32x4(u[j], u[4 + j], 0x88), b = _mm512_shuffle_f32x4(u[8 + j], u[12 + j], 0x88);
    const __m512 c = _mm512_shuffle_f32x4(u[j], u[4 + j], 0xdd), d = _mm512_shuffle_f32x4(u[8 + j], u[12 + j], 0xdd);
    rows[j].v = _mm512_shuffle_f32x4(a, b, 0x88);
    rows[8 + j].v = _mm512_shuffle_f32x4(a, b, 0xdd);
    rows[4 + j].v = _mm512_shuffle_f32x4(c, d, 0x88);
    rows[12 + j].v = _mm512_shuffle_f32x4(c, d, 0xdd);
  }
}

#else

// Lanes 1 0 3 2 ... of a.
inline F16 SwapNeighbours(F16 a) { return {_mm256_permute_ps(a.lo, 0xB1), _mm256_permute_ps(a.hi, 0xB1)}; }
inline __m256 HighBf16Half(__m256i a) { return _mm256_castsi256_ps(_mm256_and_si256(a, _mm256_set1_epi32(-65536))); }
inline __m256 LowBf16Half(__m256 a) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(a), 16)); }
// Each lane holds two bf16 numbers: the one in the upper bits, and the one in the lower bits, as float32.
inline F16 HighBf16(F16 a) {
  return {HighBf16Half(_mm256_castps_si256(a.lo)), HighBf16Half(_mm256_castps_si256(a.hi))};
}
inline F16 LowBf16(F16 a) { return {LowBf16Half(a.lo), LowBf16Half(a.hi)}; }
inline __m256 RoundToBf16Half(__m256 a) {
  const __m256i bits = _mm256_castps_si256(a);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
  const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q));
  return HighBf16Half(_mm256_blendv_epi8(rounded, quiet, nan));
}
// The nearest bf16 number, ties to even; NaN stays NaN.
inline F16 RoundToBf16(F16 a) { return {RoundToBf16Half(a.lo), RoundToBf16Half(a.hi)}; }
inline __m256 JoinBf16Half(__m256 high, __m256 low) {
  return _mm256_or_ps(high, _mm256_castsi256_ps(_mm256_srli_epi32(_mm256_castps_si256(low), 16)));
}
// Pairs of two rounded rows: HighBf16 of the result is `high`, LowBf16 is `low`.
inline F16 JoinBf16(F16 high, F16 low) { return {JoinBf16Half(high.lo, low.lo), JoinBf16Half(high.hi, low.hi)}; }
// rows[i] lane j becomes rows[j] lane i.
inline void Transpose(F16 (&rows)[kLanes]) {
  alignas(32) float from[kLanes][kLanes], to[kLanes][kLanes];
  for (int i = 0; i < kLanes; ++i) Store(from[i], rows[i]);
  for (int i = 0; i < kLanes; ++i) {
    for (int j = 0; j < kLanes; ++j) to[i][j] = from[j][i];
  }
  for (int i = 0; i < kLanes; ++i) rows[i] = Load(to[i]);
}

#endif

}  // namespace tactus::ops::TACTUS_ISA
