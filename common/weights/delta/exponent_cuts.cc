#include "common/weights/delta/exponent_cuts.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace tactus {
namespace {

// What the two tables of a class take, about.
constexpr double kTableBits = 8 * 30;

// The exponents that some number has, falling, with the sums of all before each.
struct Falling {
  explicit Falling(const ExponentCounts& counts) : numbers{0}, changes{0} {
    for (int e = 255; e >= 0; --e) {
      const auto at = static_cast<size_t>(e);
      if (counts.numbers[at] == 0) continue;
      exponents.push_back(static_cast<uint8_t>(e));
      numbers.push_back(numbers.back() + counts.numbers[at]);
      changes.push_back(changes.back() + counts.changes[at]);
    }
  }
  // Bits of one class that holds exponents [begin, end).
  double ClassBits(size_t begin, size_t end, double scale) const {
    const double all = numbers[end] - numbers[begin], changed = changes[end] - changes[begin], same = all - changed;
    if (changed == 0) return 0;
    const double same_bits = same > 0 ? same * std::log2(all / same) : 0;
    return scale * (changed * std::log2(all / changed) + same_bits) + kTableBits;
  }
  std::vector<uint8_t> exponents;
  std::vector<double> numbers, changes;  // one more than exponents
};

}  // namespace

ClassCuts ChooseCuts(const ExponentCounts& counts, double scale) {
  const Falling falling(counts);
  const size_t n = falling.exponents.size();
  // least[k][end]: bits of the first `end` exponents in k + 1 classes, the last of which begins at begins[k][end].
  std::array<std::vector<double>, kExponentClasses> least;
  std::array<std::vector<size_t>, kExponentClasses> begins;
  for (size_t k = 0; k < kExponentClasses; ++k) {
    least[k].assign(n + 1, k == 0 ? 0 : std::numeric_limits<double>::infinity());
    begins[k].assign(n + 1, 0);
    for (size_t end = 1; end <= n; ++end) {
      if (k == 0) least[0][end] = falling.ClassBits(0, end, scale);
      for (size_t begin = 1; k > 0 && begin < end; ++begin) {
        const double bits = least[k - 1][begin] + falling.ClassBits(begin, end, scale);
        if (bits < least[k][end]) least[k][end] = bits, begins[k][end] = begin;
      }
    }
  }
  size_t k = 0;
  for (size_t other = 1; other < kExponentClasses; ++other) {
    if (least[other][n] < least[k][n]) k = other;
  }
  ClassCuts cuts{};
  for (size_t end = n, filled = cuts.size(); k > 0; --k) {
    end = begins[k][end];
    // The last class's cut also closes the classes that are not used.
    for (; filled >= k; --filled) cuts[filled - 1] = falling.exponents[end];
  }
  return cuts;
}

}  // namespace tactus
