#include "tools/study/student.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>

namespace tactus {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
constexpr double kConfidence = 0.95, kWantedPower = 0.8;

double NormalBelow(double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); }

double MeanOf(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

}  // namespace

// Abramowitz and Stegun 26.7.3 and 26.7.4: a finite sum for whole degrees of freedom.
double StudentWithin(double t, int df) {
  const double angle = std::atan(t / std::sqrt(df)), cosine = std::cos(angle), square = cosine * cosine;
  const bool odd = df % 2 == 1;
  double term = odd ? cosine : 1, sum = df == 1 ? 0 : term;
  for (int i = odd ? 3 : 2; i < df; i += 2) {
    term *= square * (i - 1) / i;
    sum += term;
  }
  return odd ? (angle + std::sin(angle) * sum) * 2 / std::numbers::pi : std::sin(angle) * sum;
}

double StudentBound(double p, int df) {
  double low = 0, high = 1;
  while (StudentWithin(high, df) < p && high < 1e12) high *= 2;
  for (int i = 0; i < 200 && low < high; ++i) {
    const double middle = low + (high - low) / 2;
    if (middle == low || middle == high) break;
    (StudentWithin(middle, df) < p ? low : high) = middle;
  }
  return high;
}

Interval StudentInterval(const std::vector<double>& values) {
  if (values.empty()) return {kNone, kNone, kNone};
  const double mean = MeanOf(values);
  if (values.size() == 1) return {mean, kNone, kNone};
  const auto count = static_cast<int>(values.size());
  const double half = StudentBound(kConfidence, count - 1) * Deviation(values) / std::sqrt(count);
  return {mean, mean - half, mean + half};
}

double Deviation(const std::vector<double>& values) {
  if (values.size() < 2) return kNone;
  const double mean = MeanOf(values);
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return std::sqrt(squares / static_cast<double>(values.size() - 1));
}

double StudentPValue(const std::vector<double>& values) {
  if (values.size() < 2) return kNone;
  const double mean = std::abs(MeanOf(values)), error = Deviation(values) / std::sqrt(values.size());
  if (error == 0) return mean == 0 ? 1 : 0;
  return std::clamp(1 - StudentWithin(mean / error, static_cast<int>(values.size()) - 1), 0.0, 1.0);
}

// T is (Z + shift) / U with Z normal and U the root of a chi-square over its degrees of freedom: the normal part in
// closed form, U's by Simpson's rule over where nearly all of its density is.
double StudentPower(double effect, double deviation, int count) {
  if (count < 2 || !std::isfinite(deviation)) return kNone;
  if (deviation == 0) return effect == 0 ? 0 : 1;
  constexpr int kParts = 2000;
  const int df = count - 1;
  const double bound = StudentBound(kConfidence, df), shift = effect / deviation * std::sqrt(count), nu = df;
  const double scale = std::log(2) + nu / 2 * std::log(nu / 2) - std::lgamma(nu / 2);
  const double reach = 9 / std::sqrt(nu), from = std::max(0.0, 1 - reach), width = (1 + reach - from) / kParts;
  double sum = 0;
  for (int i = 0; i <= kParts; ++i) {
    const double u = from + i * width;
    const double density = u > 0     ? std::exp(scale + (nu - 1) * std::log(u) - nu * u * u / 2)
                           : df == 1 ? std::exp(scale)
                                     : 0;
    const double found = NormalBelow(shift - bound * u) + NormalBelow(-shift - bound * u);
    sum += (i == 0 || i == kParts ? 1 : i % 2 == 1 ? 4 : 2) * density * found;
  }
  return std::clamp(sum * width / 3, 0.0, 1.0);
}

int ValuesForPower(double effect, double deviation) {
  if (!std::isfinite(deviation) || StudentPower(effect, deviation, kMostValues) < kWantedPower) return 0;
  int low = 1, high = kMostValues;  // power grows with the number of values
  while (high - low > 1) {
    const int middle = low + (high - low) / 2;
    (StudentPower(effect, deviation, middle) >= kWantedPower ? high : low) = middle;
  }
  return high;
}

}  // namespace tactus
