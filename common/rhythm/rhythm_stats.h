// What is watched about rhythm and credit: order statistics, agreement of two choices of tokens, peaks, and the
// coupling of WAAD peaks with entropy (Table 2 of arXiv 2510.13554). Pure functions; thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "common/base/decimal.h"

namespace tactus {

// The p quantile: linear between the order statistics around (N - 1) * p, whose place is exact. The median of an even N
// is the mean of the middle two. N >= 1.
double Quantile(std::span<const double> values, Decimal p);

// Positions with a weight above 1, increasing.
std::vector<int32_t> AmplifiedPositions(std::span<const float> credit);

// |a ∩ b| / |a ∪ b| of two increasing lists without duplicates, 1 when both are empty.
double Jaccard(std::span<const int32_t> a, std::span<const int32_t> b);

// Pearson's correlation of two lists of one length; nothing when either is constant or has fewer than 2 values.
std::optional<double> Pearson(std::span<const double> x, std::span<const double> y);

// 1 at local maxima that stand out, else 0 [N]. A peak has two neighbours, is strictly above the left one and at least
// the right one (so a plateau counts once, where it begins), and is strictly above the `floor` quantile of all N. With
// floor 0, every local maximum is one. Neighbours are of the same turn: places as in rhythm.h.
std::vector<double> Peaks(std::span<const double> values, Decimal floor, std::span<const int32_t> places = {});

// Those of floor 0.8.
std::vector<double> WaadPeaks(std::span<const double> waad, std::span<const int32_t> places = {});

// Pearson's correlation of WaadPeaks(waad, places) with the entropy of the same tokens.
std::optional<double> WaadPeakEntropyCorrelation(std::span<const double> waad, std::span<const float> entropy,
                                                 std::span<const int32_t> places = {});

}  // namespace tactus
