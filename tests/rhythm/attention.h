// Whole attention matrices of made-up answers and conversations, for the tests of the rhythm.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

namespace tactus::reference {

// Row-stochastic attention of the T tokens of a response over P + T positions; row t is 0 beyond position P + t. Of a
// conversation the rows of the environment's tokens are there as any model has them; only those of `sampled` may count.
struct Attention {
  int64_t heads = 0, prompt = 0, tokens = 0;
  std::vector<double> probabilities;  // [H, T, P + T]
  std::vector<int32_t> sampled;       // [N] the model's tokens, increasing

  double& At(int64_t head, int64_t t, int64_t position) {
    return probabilities[(head * tokens + t) * (prompt + tokens) + position];
  }
  double At(int64_t head, int64_t t, int64_t position) const {
    return probabilities[(head * tokens + t) * (prompt + tokens) + position];
  }
  bool Sampled(int64_t t) const { return std::ranges::count(sampled, t) > 0; }
};

inline std::vector<int32_t> UpTo(int64_t n) {
  std::vector<int32_t> all;
  for (int32_t i = 0; i < n; ++i) all.push_back(i);
  return all;
}

inline Attention EmptyAttention(int64_t heads, int64_t prompt, int64_t tokens) {
  return {heads, prompt, tokens, std::vector<double>(heads * tokens * (prompt + tokens), 0.0), UpTo(tokens)};
}

// The model's tokens of a conversation of `tokens`: its turns begin it and end it, with 1 to `longest` tokens of others
// between two of them.
inline std::vector<int32_t> RandomTurns(std::mt19937_64& random, int64_t tokens, int64_t longest) {
  std::vector<int32_t> sampled;
  for (int64_t t = 0; t < tokens;) {
    const int64_t end = std::min(tokens, t + 1 + static_cast<int64_t>(random() % 25));
    for (; t < end; ++t) sampled.push_back(static_cast<int32_t>(t));
    if (t < tokens) t = std::min(tokens - 1, t + 1 + static_cast<int64_t>(random() % longest));
  }
  return sampled;
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

}  // namespace tactus::reference
