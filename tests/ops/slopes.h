// Float64 arrays, and gradients of functions of them by central differences.
#pragma once

#include <cstddef>
#include <functional>
#include <numeric>
#include <vector>

#include "common/base/dtype.h"

namespace tactus::ops {

using Doubles = std::vector<double>;

inline float Rounded(float value, StorageDType dtype) {
  return dtype == StorageDType::kFloat32 ? value : BFloat16ToFloat(FloatToBFloat16(value));
}

// d loss / d x by central differences.
inline Doubles Slopes(Doubles x, const std::function<double(const Doubles&)>& loss) {
  constexpr double kStep = 1e-5;
  Doubles slopes;
  for (double& value : x) {
    const double keep = value;
    value = keep + kStep;
    const double up = loss(x);
    value = keep - kStep;
    slopes.push_back((up - loss(x)) / (2 * kStep));
    value = keep;
  }
  return slopes;
}
inline Doubles Wide(const std::vector<float>& values) { return {values.begin(), values.end()}; }
inline double Dot(const Doubles& a, const Doubles& b) { return std::inner_product(a.begin(), a.end(), b.begin(), 0.0); }
inline Doubles Plus(Doubles values, double more) {
  for (double& value : values) value += more;
  return values;
}

// What a gradient that is added to held before.
inline constexpr float kBefore = 0.25f;
inline std::vector<float> Before(size_t count) { return std::vector<float>(count, kBefore); }

}  // namespace tactus::ops
