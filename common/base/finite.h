// Whether numbers in a storage type are finite. Thread-safe: no state.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <type_traits>

#include "absl/strings/str_cat.h"

namespace tactus {

// The first NaN or infinity as "NaN at element 7", nullopt where there is none. T: float, or uint16_t for the bits of a
// bfloat16. `first`: the number of values[0].
template <typename T>
std::optional<std::string> FindNonFinite(std::span<const T> values, int64_t first = 0) {
  static_assert(std::is_same_v<T, float> || std::is_same_v<T, uint16_t>);
  using Bits = std::conditional_t<std::is_same_v<T, float>, uint32_t, uint16_t>;
  constexpr Bits kExponent = sizeof(Bits) == 4 ? 0x7f800000 : 0x7f80;
  constexpr Bits kCarry = kExponent & -kExponent;  // from an exponent of ones, and from no other, to the sign's place
  // A whole pass vectorises where a search that stops early would not.
  Bits seen = 0;
  for (const T value : values) seen |= static_cast<Bits>((std::bit_cast<Bits>(value) & kExponent) + kCarry);
  if (seen >> (8 * sizeof(Bits) - 1) == 0) return std::nullopt;
  const auto bad =
      std::ranges::find_if(values, [](T value) { return (std::bit_cast<Bits>(value) & kExponent) == kExponent; });
  const bool nan = (std::bit_cast<Bits>(*bad) & (kCarry - 1)) != 0;
  return absl::StrCat(nan ? "NaN" : "infinity", " at element ", first + (bad - values.begin()));
}

}  // namespace tactus
