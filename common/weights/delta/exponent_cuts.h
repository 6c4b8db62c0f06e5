// Which exponents share a class in a delta. A class is told apart from its neighbours by how often its numbers change,
// and pays for its tables: classes are worth having where neighbouring exponents differ in that.
//
// Pure function; thread-safe.
#pragma once

#include <array>
#include <cstdint>

#include "common/weights/delta/element_masks.h"

namespace tactus {

// How many numbers have each exponent, and how many of those change. A sample's counts serve as well.
struct ExponentCounts {
  std::array<uint32_t, 256> numbers{};
  std::array<uint32_t, 256> changes{};
};

// The cuts of fewest bits for telling which numbers change: a class of n numbers, m of which change, takes n H(m / n),
// H being the entropy of one number's change, and its tables some bytes. `scale` is how many numbers each counted one
// stands for. Steps follow exponents as changes do, and are left out.
ClassCuts ChooseCuts(const ExponentCounts& counts, double scale);

}  // namespace tactus
