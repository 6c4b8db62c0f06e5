// Slow references for the rhythm and the credit weights, written from the definitions: whole attention matrices in
// float64, every position judged by itself. Nothing here is shared with common/rhythm but its types.
#pragma once

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "common/rhythm/credit.h"
#include "common/rhythm/rhythm.h"

namespace tactus::reference {

// Row-stochastic attention of N response rows over P + N positions; row t is 0 beyond position P + t.
struct Attention {
  int64_t heads = 0, prompt = 0, tokens = 0;
  std::vector<double> probabilities;  // [H, N, P + N]

  double& At(int64_t head, int64_t t, int64_t position) {
    return probabilities[(head * tokens + t) * (prompt + tokens) + position];
  }
  double At(int64_t head, int64_t t, int64_t position) const {
    return probabilities[(head * tokens + t) * (prompt + tokens) + position];
  }
};

inline Attention EmptyAttention(int64_t heads, int64_t prompt, int64_t tokens) {
  return {heads, prompt, tokens, std::vector<double>(heads * tokens * (prompt + tokens), 0.0)};
}

// Heads differ in how far back they look; some are copies of an earlier one, so that all their statistics tie.
inline Attention RandomAttention(std::mt19937_64& random, int64_t heads, int64_t prompt, int64_t tokens) {
  std::normal_distribution<double> normal;
  std::uniform_real_distribution<double> uniform;
  Attention attention = EmptyAttention(heads, prompt, tokens);
  for (int64_t head = 0; head < heads; ++head) {
    const int64_t copied = head > 0 && uniform(random) < 0.2 ? static_cast<int64_t>(uniform(random) * head) : head;
    const double reach = 2 + 40 * uniform(random);
    for (int64_t t = 0; t < tokens; ++t) {
      double total = 0;
      for (int64_t j = 0; j <= prompt + t; ++j) {
        const double distance = static_cast<double>(prompt + t - j);
        const double score = copied == head ? std::exp(2 * normal(random) - distance / reach) : 0;
        attention.At(head, t, j) = copied == head ? score : attention.At(copied, t, j);
        total += attention.At(head, t, j);
      }
      for (int64_t j = 0; j <= prompt + t && copied == head; ++j) attention.At(head, t, j) /= total;
    }
  }
  return attention;
}

// Row by row as a decode step sees it: WAAD from the last W probabilities, FAI at the keys of the horizon only.
inline HeadSums Accumulate(const Attention& attention, const RhythmOptions& options) {
  const int64_t tokens = attention.tokens, window = options.window_tokens;
  HeadSums sums;
  sums.num_tokens = tokens;
  sums.num_heads = attention.heads;
  sums.span_sum.resize(attention.heads);
  if (options.ignore_first_token) sums.mass_sum.resize(attention.heads);
  sums.waad.resize(attention.heads * tokens);
  sums.fai_sum.resize(attention.heads * tokens);
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t head = 0; head < attention.heads; ++head) {
      const int64_t self = attention.prompt + t;
      for (int64_t j = options.ignore_first_token ? 1 : 0; j <= self; ++j) {
        sums.span_sum[head] += attention.At(head, t, j) * static_cast<double>(self - j);
        if (options.ignore_first_token) sums.mass_sum[head] += attention.At(head, t, j);
      }
      double near = 0;
      for (int64_t i = 0; i < window && i <= self; ++i) {
        near += static_cast<double>(window - i) * attention.At(head, t, self - i);
      }
      sums.waad[head * tokens + t] = static_cast<float>(static_cast<double>(window) - near);
      const int64_t first = std::max<int64_t>(0, t - options.horizon_max_tokens);
      for (int64_t s = first; s <= t - options.horizon_min_tokens; ++s) {
        sums.fai_sum[head * tokens + s] += static_cast<float>(attention.At(head, t, attention.prompt + s));
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

// FAI of the mean over `heads` at every position.
inline std::vector<double> FaiOf(const Attention& a, const RhythmOptions& options, const std::vector<int32_t>& heads) {
  std::vector<double> fai(a.tokens, 0.0);
  for (int64_t s = 0; s < a.tokens; ++s) {
    double sum = 0, rows = 0;
    for (int64_t t = 0; t < a.tokens; ++t) {
      if (t - s < options.horizon_min_tokens || t - s > options.horizon_max_tokens) continue;
      double mean = 0;
      for (const int32_t head : heads) mean += a.At(head, t, a.prompt + s) / static_cast<double>(heads.size());
      sum += mean;
      rows += 1;
    }
    if (rows > 0) fai[s] = sum / rows;
  }
  return fai;
}

inline std::vector<int32_t> ReceiversOf(const Attention& a, const RhythmOptions& options, int64_t eligible) {
  if (eligible < 4) return {};
  std::vector<double> kurtosis;
  for (int32_t head = 0; head < a.heads; ++head) {
    const std::vector<double> fai = FaiOf(a, options, {head});
    double moments[5] = {};
    for (int64_t s = 0; s < eligible; ++s) moments[1] += fai[s] / static_cast<double>(eligible);
    for (int power : {2, 4}) {
      for (int64_t s = 0; s < eligible; ++s) {
        moments[power] += std::pow(fai[s] - moments[1], power) / static_cast<double>(eligible);
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
    for (int64_t t = 0; t < a.tokens; ++t) {
      for (int64_t j = 0; j <= a.prompt + t; ++j) {
        if (j > 0 || !options.ignore_first_token) paid += a.At(head, t, j);
      }
    }
    for (int64_t t = 0; t < a.tokens; ++t) {
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
  for (int64_t t = 0; t < a.tokens; ++t) {
    double waad = 0;
    for (int64_t j = 0; j <= a.prompt + t; ++j) {
      double mean = 0;
      for (const int32_t head : rhythm.heads.local) mean += a.At(head, t, j) / static_cast<double>(count);
      waad += mean * std::min(distance(t, j), static_cast<double>(options.window_tokens));
    }
    rhythm.waad.push_back(waad);
  }
  for (int64_t t = 0; t < a.tokens; ++t) {
    rhythm.delta.push_back(t == a.tokens - 1 ? 0 : std::fabs(rhythm.waad[t] - rhythm.waad[t + 1]));
    rhythm.num_eligible += t + options.horizon_min_tokens <= a.tokens - 1 ? 1 : 0;
  }
  rhythm.fai = FaiOf(a, options, rhythm.heads.global);
  rhythm.receiver_heads = ReceiversOf(a, options, rhythm.num_eligible);
  rhythm.receiver.assign(a.tokens, 0.0);
  if (!rhythm.receiver_heads.empty()) rhythm.receiver = FaiOf(a, options, rhythm.receiver_heads);
  return rhythm;
}

}  // namespace tactus::reference
