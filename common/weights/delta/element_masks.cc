#include "common/weights/delta/element_masks.h"

#include <algorithm>
#include <bit>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tactus {
namespace {

void ClassMasksPortable(const uint16_t* numbers, int top, ClassMasks& masks) {
  masks.fill(0);
  for (int i = 0; i < kMaskElements; ++i) {
    const int below = std::clamp(top - ExponentOf(numbers[i]), 0, kExponentClasses - 1);
    masks[static_cast<size_t>(below)] |= uint64_t{1} << i;
  }
}

uint64_t ChangedPortable(const uint16_t* a, const uint16_t* b) {
  if (std::memcmp(a, b, kMaskElements * sizeof(*a)) == 0) return 0;
  uint64_t changed = 0;
  for (int i = 0; i < kMaskElements; ++i) changed |= uint64_t{a[i] != b[i]} << i;
  return changed;
}

int SelectBitPortable(uint64_t mask, int rank) {
  for (; rank > 0; --rank) mask &= mask - 1;
  return std::countr_zero(mask);
}

#if defined(__x86_64__)
#define TACTUS_AVX2 __attribute__((target("avx2,bmi,bmi2,popcnt,lzcnt")))

// 32 numbers' results of 16 bits, each all ones or zero, as 32 bits in order.
TACTUS_AVX2 inline uint32_t Bits(__m256i low, __m256i high) {
  // packs interleaves the two registers' halves of 128 bits; 0xd8 puts them back.
  const __m256i bytes = _mm256_permute4x64_epi64(_mm256_packs_epi16(low, high), 0xd8);
  return static_cast<uint32_t>(_mm256_movemask_epi8(bytes));
}

TACTUS_AVX2 inline __m256i Load(const uint16_t* at) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)); }

TACTUS_AVX2 inline __m256i Exponents(const uint16_t* at) {
  return _mm256_and_si256(_mm256_srli_epi16(Load(at), 7), _mm256_set1_epi16(0xff));
}

// The classes of 32 numbers, a byte each.
TACTUS_AVX2 inline __m256i Classes(const uint16_t* at, __m256i top) {
  const __m256i exponents = _mm256_permute4x64_epi64(_mm256_packus_epi16(Exponents(at), Exponents(at + 16)), 0xd8);
  return _mm256_min_epu8(_mm256_subs_epu8(top, exponents), _mm256_set1_epi8(kExponentClasses - 1));
}

TACTUS_AVX2 void ClassMasksAvx2(const uint16_t* numbers, int top, ClassMasks& masks) {
  const __m256i top_bytes = _mm256_set1_epi8(static_cast<char>(top));
  const __m256i low = Classes(numbers, top_bytes), high = Classes(numbers + 32, top_bytes);
  for (int c = 0; c < kExponentClasses; ++c) {
    const __m256i wanted = _mm256_set1_epi8(static_cast<char>(c));
    const auto low_bits = static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(low, wanted)));
    const auto high_bits = static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(high, wanted)));
    masks[static_cast<size_t>(c)] = low_bits | uint64_t{high_bits} << 32;
  }
}

TACTUS_AVX2 inline __m256i Same(const uint16_t* a, const uint16_t* b) { return _mm256_cmpeq_epi16(Load(a), Load(b)); }

TACTUS_AVX2 uint64_t ChangedAvx2(const uint16_t* a, const uint16_t* b) {
  const uint32_t low = Bits(Same(a, b), Same(a + 16, b + 16));
  const uint32_t high = Bits(Same(a + 32, b + 32), Same(a + 48, b + 48));
  return ~(low | uint64_t{high} << 32);
}

TACTUS_AVX2 int SelectBitAvx2(uint64_t mask, int rank) {
  return static_cast<int>(_tzcnt_u64(_pdep_u64(uint64_t{1} << rank, mask)));
}
#endif

}  // namespace

const MaskKernels& PortableMaskKernels() {
  static constexpr MaskKernels kKernels{ClassMasksPortable, ChangedPortable, SelectBitPortable};
  return kKernels;
}

const MaskKernels* Avx2MaskKernels() {
#if defined(__x86_64__)
  static constexpr MaskKernels kKernels{ClassMasksAvx2, ChangedAvx2, SelectBitAvx2};
  static const bool have = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2");
  return have ? &kKernels : nullptr;
#else
  return nullptr;
#endif
}

const MaskKernels& BestMaskKernels() {
  const MaskKernels* const avx2 = Avx2MaskKernels();
  return avx2 != nullptr ? *avx2 : PortableMaskKernels();
}

}  // namespace tactus
