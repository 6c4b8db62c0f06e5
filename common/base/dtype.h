// Storage types of weights and their conversion to and from float32. Thread-safe: no state.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace tactus {

enum class StorageDType { kFloat32, kBFloat16 };

constexpr int64_t BytesPerElement(StorageDType dtype) { return dtype == StorageDType::kFloat32 ? 4 : 2; }

// Round to nearest, ties to even; overflow goes to infinity, NaN stays a (quiet) NaN.
constexpr uint16_t FloatToBFloat16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffff) > 0x7f800000) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

constexpr float BFloat16ToFloat(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

// IEEE 754 binary16, exact.
inline float Float16ToFloat(uint16_t bits) {
  const uint32_t sign = uint32_t{bits} >> 15 << 31;
  const uint32_t exponent = bits >> 10 & 0x1f;
  const uint32_t mantissa = bits & 0x3ff;
  if (exponent == 0) {  // zero or subnormal: mantissa * 2^-24
    const float magnitude = std::ldexp(static_cast<float>(mantissa), -24);
    return sign != 0 ? -magnitude : magnitude;
  }
  const uint32_t wide = exponent == 31 ? 0xff : exponent + 112;  // 127 - 15
  return std::bit_cast<float>(sign | wide << 23 | mantissa << 13);
}

}  // namespace tactus
