#include "common/rhythm/rhythm.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "common/data/turns.h"

namespace tactus {
namespace {

int64_t CountOf(Decimal share, int64_t total) { return std::max<int64_t>(1, share.FloorOf(total)); }

// The first `count` heads by `less`, a total order, as increasing indices.
template <typename Less>
std::vector<int32_t> FirstHeads(int64_t num_heads, int64_t count, Less less) {
  std::vector<int32_t> order(num_heads);
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), less);
  order.resize(std::min(count, num_heads));
  std::sort(order.begin(), order.end());
  return order;
}

// [N] how many rows belong to the window of each token: 0 when it is not eligible. Distances are between positions,
// whoever wrote what stands there; only the model's tokens have rows.
std::vector<int64_t> WindowRows(const RhythmOptions& options, std::span<const int32_t> places, int64_t num_tokens) {
  const auto place = [&](int64_t t) { return places.empty() ? t : int64_t{places[static_cast<size_t>(t)]}; };
  std::vector<int64_t> rows(static_cast<size_t>(num_tokens));
  for (int64_t s = 0, first = 0, end = 0; s < num_tokens; ++s) {  // the window is [first, end), which only grow
    while (first < num_tokens && place(first) - place(s) < options.horizon_min_tokens) ++first;
    while (end < num_tokens && place(end) - place(s) <= options.horizon_max_tokens) ++end;
    rows[static_cast<size_t>(s)] = std::max<int64_t>(0, end - first);
  }
  return rows;
}

// [N] mean over `heads` of values[h, :]; 0 where there is no head.
std::vector<double> MeanOverHeads(const std::vector<float>& values, int64_t num_tokens,
                                  const std::vector<int32_t>& heads) {
  std::vector<double> mean(num_tokens, 0.0);
  if (heads.empty()) return mean;
  for (const int32_t head : heads) {
    const float* row = values.data() + head * num_tokens;
    for (int64_t t = 0; t < num_tokens; ++t) mean[t] += row[t];
  }
  for (double& value : mean) value /= static_cast<double>(heads.size());
  return mean;
}

// [N] mean FAI of `heads`: the sums of eligible positions by the rows of their windows, 0 elsewhere.
std::vector<double> MeanFai(const HeadSums& sums, const std::vector<int32_t>& heads,
                            std::span<const int64_t> window_rows) {
  std::vector<double> fai = MeanOverHeads(sums.fai_sum, sums.num_tokens, heads);
  for (size_t s = 0; s < fai.size(); ++s) {
    fai[s] = window_rows[s] > 0 ? fai[s] / static_cast<double>(window_rows[s]) : 0;
  }
  return fai;
}

// Fourth central moment over the squared variance, less the normal distribution's 3.
double ExcessKurtosis(std::span<const double> values) {
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  if (*low == *high) return -std::numeric_limits<double>::infinity();
  const double count = static_cast<double>(values.size());
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / count;
  double second = 0, fourth = 0;
  for (const double value : values) {
    const double square = (value - mean) * (value - mean);
    second += square;
    fourth += square * square;
  }
  return count * fourth / (second * second) - 3;
}

std::vector<int32_t> ReceiverHeads(const HeadSums& sums, const RhythmOptions& options,
                                   std::span<const int32_t> eligible, std::span<const int64_t> window_rows) {
  constexpr size_t kFewestPositions = 4;
  if (eligible.size() < kFewestPositions) return {};
  std::vector<double> kurtosis(sums.num_heads);
  for (int64_t head = 0; head < sums.num_heads; ++head) {
    const std::vector<double> fai = MeanFai(sums, {static_cast<int32_t>(head)}, window_rows);
    std::vector<double> profile;
    for (const int32_t s : eligible) profile.push_back(fai[s]);
    kurtosis[head] = ExcessKurtosis(profile);
  }
  return FirstHeads(sums.num_heads, CountOf(options.receiver_share, sums.num_heads), [&](int32_t a, int32_t b) {
    return kurtosis[a] != kurtosis[b] ? kurtosis[a] > kurtosis[b] : a < b;
  });
}

}  // namespace

std::vector<int32_t> DefaultRhythmLayers(int64_t num_layers) {
  constexpr int64_t kCount = 5, kGaps = kCount - 1;
  const int64_t low = num_layers / 3, high = 2 * num_layers / 3;
  std::vector<int32_t> layers;
  for (int64_t i = 0; i < kCount && num_layers > 0; ++i) {
    // (high - low) * i / kGaps, rounded half up.
    const auto layer = static_cast<int32_t>(low + (2 * (high - low) * i + kGaps) / (2 * kGaps));
    if (layers.empty() || layers.back() != layer) layers.push_back(layer);
  }
  return layers;
}

absl::StatusOr<std::vector<int32_t>> RhythmLayers(std::span<const int32_t> configured, int64_t num_layers) {
  if (configured.empty()) return DefaultRhythmLayers(num_layers);
  for (const int32_t layer : configured) {
    if (layer < 0 || layer >= num_layers) {
      return absl::InvalidArgumentError(absl::StrCat("credit.layers holds ", layer, ": expected layers from 0 to ",
                                                     num_layers - 1, ", as the model has ", num_layers, "."));
    }
  }
  return std::vector<int32_t>(configured.begin(), configured.end());
}

HeadClasses ClassifyHeads(std::span<const double> spans, Decimal share) {
  const auto num_heads = static_cast<int64_t>(spans.size());
  const int64_t count = CountOf(share, num_heads);
  // One order from the shortest span to the longest, ties by index; the classes are its two ends.
  const auto shorter = [&](int32_t a, int32_t b) { return spans[a] != spans[b] ? spans[a] < spans[b] : a < b; };
  return {.local = FirstHeads(num_heads, count, shorter),
          .global = FirstHeads(num_heads, count, [&](int32_t a, int32_t b) { return shorter(b, a); })};
}

std::vector<double> DeltaOf(std::span<const double> waad, std::span<const int32_t> places) {
  std::vector<double> delta(waad.size(), 0.0);
  for (size_t t = 0; t + 1 < waad.size(); ++t) {
    if (GoesOn(places, t + 1)) delta[t] = std::fabs(waad[t] - waad[t + 1]);
  }
  return delta;
}

std::vector<int32_t> EligibleTokens(int64_t num_tokens, std::span<const int32_t> places, const RhythmOptions& options) {
  const std::vector<int64_t> window_rows = WindowRows(options, places, num_tokens);
  std::vector<int32_t> eligible;
  for (int32_t s = 0; s < num_tokens; ++s) {
    if (window_rows[static_cast<size_t>(s)] > 0) eligible.push_back(s);
  }
  return eligible;
}

Rhythm ComputeRhythm(const HeadSums& sums, const RhythmOptions& options, const HeadClasses* fixed) {
  const int64_t tokens = sums.num_tokens;
  assert(static_cast<int64_t>(sums.span_sum.size()) == sums.num_heads);
  assert(sums.mass_sum.empty() != options.ignore_first_token || tokens == 0);
  assert(static_cast<int64_t>(sums.waad.size()) == sums.num_heads * tokens && sums.fai_sum.size() == sums.waad.size());
  assert(sums.places.empty() || static_cast<int64_t>(sums.places.size()) == tokens);
  Rhythm rhythm;
  if (tokens == 0) return rhythm;
  rhythm.span = sums.span_sum;
  for (size_t head = 0; head < rhythm.span.size(); ++head) {
    // A row pays something to its own token, so the mass is above 0 unless all of it was lost to rounding.
    const double mass = sums.mass_sum.empty() ? static_cast<double>(tokens) : sums.mass_sum[head];
    rhythm.span[head] = mass > 0 ? rhythm.span[head] / mass : 0;
  }
  rhythm.heads = fixed != nullptr ? *fixed : ClassifyHeads(rhythm.span, options.head_share);
  rhythm.waad = MeanOverHeads(sums.waad, tokens, rhythm.heads.local);
  rhythm.places = sums.places;
  rhythm.delta = DeltaOf(rhythm.waad, rhythm.places);
  rhythm.eligible = EligibleTokens(tokens, rhythm.places, options);
  const std::vector<int64_t> window_rows = WindowRows(options, rhythm.places, tokens);
  rhythm.fai = MeanFai(sums, rhythm.heads.global, window_rows);
  rhythm.receiver_heads = ReceiverHeads(sums, options, rhythm.eligible, window_rows);
  rhythm.receiver = MeanFai(sums, rhythm.receiver_heads, window_rows);
  return rhythm;
}

}  // namespace tactus
