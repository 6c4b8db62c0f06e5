#include "common/rhythm/rhythm_stats.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numeric>

#include "common/data/turns.h"

namespace tactus {
namespace {

double Mean(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

bool Constant(std::span<const double> values) {
  return std::all_of(values.begin(), values.end(), [&](double value) { return value == values.front(); });
}

}  // namespace

double Quantile(std::span<const double> values, Decimal p) {
  assert(!values.empty());
  std::vector<double> sorted(values.begin(), values.end());
  std::sort(sorted.begin(), sorted.end());
  const int64_t scaled = p.numerator() * static_cast<int64_t>(sorted.size() - 1);
  const int64_t below = scaled / p.denominator(), rest = scaled % p.denominator();
  if (rest == 0) return sorted[below];
  const double low = sorted[below], high = sorted[below + 1];
  // Multiplied before it is divided: exact wherever the result and the product are. Never rounded past `high`.
  const double step = (high - low) * static_cast<double>(rest) / static_cast<double>(p.denominator());
  return std::min(low + step, high);
}

std::vector<int32_t> AmplifiedPositions(std::span<const float> credit) {
  std::vector<int32_t> positions;
  for (size_t t = 0; t < credit.size(); ++t) {
    if (credit[t] > 1) positions.push_back(static_cast<int32_t>(t));
  }
  return positions;
}

double Jaccard(std::span<const int32_t> a, std::span<const int32_t> b) {
  if (a.empty() && b.empty()) return 1;
  std::vector<int32_t> common;
  std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(common));
  return static_cast<double>(common.size()) / static_cast<double>(a.size() + b.size() - common.size());
}

std::optional<double> Pearson(std::span<const double> x, std::span<const double> y) {
  assert(x.size() == y.size());
  if (x.size() < 2 || Constant(x) || Constant(y)) return std::nullopt;
  const double mean_x = Mean(x), mean_y = Mean(y);
  double xx = 0, yy = 0, xy = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double dx = x[i] - mean_x, dy = y[i] - mean_y;
    xx += dx * dx;
    yy += dy * dy;
    xy += dx * dy;
  }
  const double scale = std::sqrt(xx) * std::sqrt(yy);
  if (scale == 0) return std::nullopt;  // differences too small to square
  return std::clamp(xy / scale, -1.0, 1.0);
}

std::vector<double> Peaks(std::span<const double> values, Decimal floor, std::span<const int32_t> places) {
  std::vector<double> peaks(values.size(), 0.0);
  if (values.size() < 3) return peaks;
  const double threshold = Quantile(values, floor);
  for (size_t t = 1; t + 1 < values.size(); ++t) {
    if (!GoesOn(places, t) || !GoesOn(places, t + 1)) continue;
    if (values[t] > values[t - 1] && values[t] >= values[t + 1] && values[t] > threshold) peaks[t] = 1;
  }
  return peaks;
}

std::vector<double> WaadPeaks(std::span<const double> waad, std::span<const int32_t> places) {
  return Peaks(waad, Decimal::Tenths(8), places);
}

std::optional<double> WaadPeakEntropyCorrelation(std::span<const double> waad, std::span<const float> entropy,
                                                 std::span<const int32_t> places) {
  return Pearson(WaadPeaks(waad, places), std::vector<double>(entropy.begin(), entropy.end()));
}

}  // namespace tactus
