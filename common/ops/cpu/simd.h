// F16: sixteen floats as one value, two AVX2 registers or one AVX-512 register.
//
// Kernels are written once on F16 and compiled once per instruction set. Sixteen lanes everywhere makes the order of
// every sum the same on both, so they give the same bits. Included only by kernels_*.cc, inside their own namespace.
#pragma once

#include <immintrin.h>

#include <cstdint>

#ifndef TACTUS_ISA
#error "define TACTUS_ISA (the namespace of this instruction set) before including simd.h"
#endif

namespace tactus::ops::TACTUS_ISA {

inline constexpr int kLanes = 16;

#if defined(__AVX512F__)

struct F16 {
  __m512 v;
};

inline F16 Zero() { return {_mm512_setzero_ps()}; }
inline F16 Set(float x) { return {_mm512_set1_ps(x)}; }
inline F16 Load(const float* p) { return {_mm512_loadu_ps(p)}; }
inline void Store(float* p, F16 a) { _mm512_storeu_ps(p, a.v); }
inline F16 operator+(F16 a, F16 b) { return {_mm512_add_ps(a.v, b.v)}; }
inline F16 operator-(F16 a, F16 b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline F16 operator*(F16 a, F16 b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline F16 operator/(F16 a, F16 b) { return {_mm512_div_ps(a.v, b.v)}; }
inline F16 Max(F16 a, F16 b) { return {_mm512_max_ps(a.v, b.v)}; }
inline F16 Min(F16 a, F16 b) { return {_mm512_min_ps(a.v, b.v)}; }
inline F16 Fma(F16 a, F16 b, F16 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline F16 Round(F16 a) { return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
// 2^n for integral n in [-126, 127].
inline F16 PowerOfTwo(F16 n) {
  return {
      _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n.v), _mm512_set1_epi32(127)), 23))};
}
// a where x >= limit, else 0.
inline F16 KeepWhereAtLeast(F16 a, F16 x, F16 limit) {
  return {_mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x.v, limit.v, _CMP_GE_OQ), a.v)};
}
// The first `count` floats, zeros after them.
inline F16 LoadFirst(const float* p, int64_t count) {
  return {count >= kLanes ? _mm512_loadu_ps(p) : _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1), p)};
}
inline F16 LoadBf16(const uint16_t* p) {
  return {_mm512_castsi512_ps(
      _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))), 16))};
}
inline __m256 LowHalf(F16 a) { return _mm512_castps512_ps256(a.v); }
inline __m256 HighHalf(F16 a) { return _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(a.v), 1)); }

#else

struct F16 {
  __m256 lo;
  __m256 hi;
};

inline F16 Zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
inline F16 Set(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
inline F16 Load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
inline void Store(float* p, F16 a) {
  _mm256_storeu_ps(p, a.lo);
  _mm256_storeu_ps(p + 8, a.hi);
}
inline F16 operator+(F16 a, F16 b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
inline F16 operator-(F16 a, F16 b) { return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
inline F16 operator*(F16 a, F16 b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
inline F16 operator/(F16 a, F16 b) { return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
inline F16 Max(F16 a, F16 b) { return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
inline F16 Min(F16 a, F16 b) { return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)}; }
inline F16 Fma(F16 a, F16 b, F16 c) { return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)}; }
inline __m256 RoundHalf(__m256 a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline F16 Round(F16 a) { return {RoundHalf(a.lo), RoundHalf(a.hi)}; }
inline __m256 PowerOfTwoHalf(__m256 n) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}
// 2^n for integral n in [-126, 127].
inline F16 PowerOfTwo(F16 n) { return {PowerOfTwoHalf(n.lo), PowerOfTwoHalf(n.hi)}; }
// a where x >= limit, else 0.
inline F16 KeepWhereAtLeast(F16 a, F16 x, F16 limit) {
  return {_mm256_and_ps(a.lo, _mm256_cmp_ps(x.lo, limit.lo, _CMP_GE_OQ)),
          _mm256_and_ps(a.hi, _mm256_cmp_ps(x.hi, limit.hi, _CMP_GE_OQ))};
}
// The first `count` floats, zeros after them.
inline F16 LoadFirst(const float* p, int64_t count) {
  if (count >= kLanes) return Load(p);
  alignas(32) float buffer[kLanes] = {};
  for (int64_t j = 0; j < count; ++j) buffer[j] = p[j];
  return Load(buffer);
}
inline __m256 LoadBf16Half(const uint16_t* p) {
  return _mm256_castsi256_ps(
      _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))), 16));
}
inline F16 LoadBf16(const uint16_t* p) { return {LoadBf16Half(p), LoadBf16Half(p + 8)}; }
inline __m256 LowHalf(F16 a) { return a.lo; }
inline __m256 HighHalf(F16 a) { return a.hi; }

#endif

// Horizontal sum and maximum, halving in a fixed order.
inline float SumLanes(F16 a) {
  const __m256 eight = _mm256_add_ps(LowHalf(a), HighHalf(a));
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  four = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}
inline float MaxLanes(F16 a) {
  const __m256 eight = _mm256_max_ps(LowHalf(a), HighHalf(a));
  __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  four = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
}

// exp(x) for x <= 88: within 2 ulp of the true value; exactly 0 below -87.3 (where float32 goes subnormal).
// Cody-Waite reduction by ln 2 in two parts, then the degree-6 Taylor series with its last terms economised.
inline F16 Exp(F16 x) {
  const F16 lowest = Set(-87.3365447505531f);
  const F16 clamped = Max(x, lowest);
  const F16 n = Round(clamped * Set(1.44269504088896341f));
  F16 r = Fma(n, Set(-0.693145751953125f), clamped);
  r = Fma(n, Set(-1.42860682030941723e-6f), r);
  F16 p = Set(1.9875691500e-4f);
  p = Fma(p, r, Set(1.3981999507e-3f));
  p = Fma(p, r, Set(8.3334519073e-3f));
  p = Fma(p, r, Set(4.1665795894e-2f));
  p = Fma(p, r, Set(1.6666665459e-1f));
  p = Fma(p, r, Set(5.0000001201e-1f));
  p = Fma(p, r * r, r + Set(1.0f));
  return KeepWhereAtLeast(p * PowerOfTwo(n), x, lowest);
}

}  // namespace tactus::ops::TACTUS_ISA
