// Slow references for the rhythm and the credit weights, written from the definitions: whole attention matrices in
// float64, every position judged by itself. Nothing here is shared with common/rhythm but its types.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "common/rhythm/credit.h"
#include "common/rhythm/rhythm.h"
#include "tests/rhythm/attention.h"

namespace tactus::reference {

// Row by row as a decode step sees it: WAAD from the last W probabilities, FAI at the keys of the horizon only.
inline HeadSums Accumulate(const Attention& attention, const RhythmOptions& options) {
  const auto tokens = static_cast<int64_t>(attention.sampled.size()), window = options.window_tokens;
  HeadSums sums;
  sums.num_tokens = tokens;
  sums.num_heads = attention.heads;
  sums.places = attention.sampled;
  sums.span_sum.resize(attention.heads);
  if (options.ignore_first_token) sums.mass_sum.resize(attention.heads);
  sums.waad.resize(attention.heads * tokens);
  sums.fai_sum.resize(attention.heads * tokens);
  for (int64_t i = 0; i < tokens; ++i) {
    const int64_t t = attention.sampled[i];
    for (int64_t head = 0; head < attention.heads; ++head) {
      const int64_t self = attention.prompt + t;
      for (int64_t j = options.ignore_first_token ? 1 : 0; j <= self; ++j) {
        sums.span_sum[head] += attention.At(head, t, j) * static_cast<double>(self - j);
        if (options.ignore_first_token) sums.mass_sum[head] += attention.At(head, t, j);
      }
      double near = 0;
      for (int64_t back = 0; back < window && back <= self; ++back) {
        near += static_cast<double>(window - back) * attention.At(head, t, self - back);
      }
      sums.waad[head * tokens + i] = static_cast<float>(static_cast<double>(window) - near);
      for (int64_t k = 0; k < i; ++k) {
        const int64_t s = attention.sampled[k];
        if (t - s < options.horizon_min_tokens || t - s > options.horizon_max_tokens) continue;
        sums.fai_sum[head * tokens + k] += static_cast<float>(attention.At(head, t, attention.prompt + s));
      }
    }
  }
  return sums;
}

// Indices 0 .. n-1, those for which `before(a, b)` holds first; an insertion sort, so ties keep their order.
template <typename Before>
std::vector<int32_t> Sorted(int64_t n, Before before) {
  std::vector<int32_t> order;
  for (int32_t i = 0; i < n; ++i) {
    size_t place = order.size();
    while (place > 0 && before(i, order[place - 1])) --place;
    order.insert(order.begin() + static_cast<int64_t>(place), i);
  }
  return order;
}

inline int64_t Count(Decimal share, int64_t n) {
  return std::max<int64_t>(1, share.numerator() * n / share.denominator());
}

inline std::vector<int32_t> Increasing(std::vector<int32_t> values) {
  std::sort(values.begin(), values.end());
  return values;
}

// FAI of the mean over `heads` at every token of the model's.
inline std::vector<double> FaiOf(const Attention& a, const RhythmOptions& options, const std::vector<int32_t>& heads) {
  std::vector<double> fai;
  for (const int64_t s : a.sampled) {
    double sum = 0, rows = 0;
    for (const int64_t t : a.sampled) {
      if (t - s < options.horizon_min_tokens || t - s > options.horizon_max_tokens) continue;
      double mean = 0;
      for (const int32_t head : heads) mean += a.At(head, t, a.prompt + s) / static_cast<double>(heads.size());
      sum += mean;
      rows += 1;
    }
    fai.push_back(rows > 0 ? sum / rows : 0);
  }
  return fai;
}

inline std::vector<int32_t> ReceiversOf(const Attention& a, const RhythmOptions& options,
                                        const std::vector<int32_t>& eligible) {
  if (eligible.size() < 4) return {};
  std::vector<double> kurtosis;
  for (int32_t head = 0; head < a.heads; ++head) {
    const std::vector<double> fai = FaiOf(a, options, {head});
    double moments[5] = {};
    for (const int32_t s : eligible) moments[1] += fai[s] / static_cast<double>(eligible.size());
    for (int power : {2, 4}) {
      for (const int32_t s : eligible) {
        moments[power] += std::pow(fai[s] - moments[1], power) / static_cast<double>(eligible.size());
      }
    }
    kurtosis.push_back(moments[4] / moments[2] / moments[2] - 3);
  }
  std::vector<int32_t> order = Sorted(a.heads, [&](int32_t x, int32_t y) { return kurtosis[x] > kurtosis[y]; });
  order.resize(Count(options.receiver_share, a.heads));
  return Increasing(order);
}

inline Rhythm FullMatrixRhythm(const Attention& a, const RhythmOptions& options) {
  Rhythm rhythm;
  if (a.tokens == 0) return rhythm;
  const auto distance = [&](int64_t t, int64_t j) { return static_cast<double>(a.prompt + t - j); };
  for (int64_t head = 0; head < a.heads; ++head) {
    // The mean distance of what the head pays, each unit of it counting alike.
    double mean = 0, paid = 0;
    for (const int64_t t : a.sampled) {
      for (int64_t j = 0; j <= a.prompt + t; ++j) {
        if (j > 0 || !options.ignore_first_token) paid += a.At(head, t, j);
      }
    }
    for (const int64_t t : a.sampled) {
      for (int64_t j = 0; j <= a.prompt + t; ++j) {
        if (j > 0 || !options.ignore_first_token) mean += a.At(head, t, j) * distance(t, j) / paid;
      }
    }
    rhythm.span.push_back(paid > 0 ? mean : 0);
  }
  // Copies have the same bits, and whatever else is this close would be a tie to nobody.
  const std::vector<int32_t> order =
      Sorted(a.heads, [&](int32_t x, int32_t y) { return rhythm.span[x] < rhythm.span[y]; });
  const int64_t count = Count(options.head_share, a.heads);
  rhythm.heads.local = Increasing({order.begin(), order.begin() + count});
  rhythm.heads.global = Increasing({order.end() - count, order.end()});
  for (const int64_t t : a.sampled) {
    double waad = 0;
    for (int64_t j = 0; j <= a.prompt + t; ++j) {
      double mean = 0;
      for (const int32_t head : rhythm.heads.local) mean += a.At(head, t, j) / static_cast<double>(count);
      waad += mean * std::min(distance(t, j), static_cast<double>(options.window_tokens));
    }
    rhythm.waad.push_back(waad);
  }
  for (size_t i = 0; i < a.sampled.size(); ++i) {
    // Whether the token behind this one is the model's too; then it is the next of the list.
    rhythm.delta.push_back(a.Sampled(a.sampled[i] + 1) ? std::fabs(rhythm.waad[i] - rhythm.waad[i + 1]) : 0);
    const auto in_window = [&](int64_t t) {
      const int64_t back = t - a.sampled[i];
      return back >= options.horizon_min_tokens && back <= options.horizon_max_tokens;
    };
    if (std::ranges::any_of(a.sampled, in_window)) rhythm.eligible.push_back(static_cast<int32_t>(i));
  }
  rhythm.places = a.sampled;
  rhythm.fai = FaiOf(a, options, rhythm.heads.global);
  rhythm.receiver_heads = ReceiversOf(a, options, rhythm.eligible);
  rhythm.receiver.assign(a.sampled.size(), 0.0);
  if (!rhythm.receiver_heads.empty()) rhythm.receiver = FaiOf(a, options, rhythm.receiver_heads);
  return rhythm;
}

}  // namespace tactus::reference
