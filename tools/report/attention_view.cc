#include "tools/report/attention_view.h"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace tactus {
namespace {

constexpr int64_t kDiagonalTokens = 96;
constexpr double kTopPercentile = 0.99;

// The weight that is drawn brightest: over the causal part of the region, without key 0. 0 when nothing is there.
float TopWeight(std::span<const float> attention, const AttentionImage& image, int64_t stride) {
  std::vector<float> weights;
  for (int64_t row = 0; row < image.num_rows; ++row) {
    const int64_t end = std::min(image.first_key + image.num_keys, image.prompt_tokens + row + 1);
    for (int64_t key = std::max<int64_t>(1, image.first_key); key < end; ++key) {
      weights.push_back(attention[static_cast<size_t>(row * stride + key)]);
    }
  }
  if (weights.empty()) return 0;
  const auto at =
      weights.begin() + static_cast<std::ptrdiff_t>(kTopPercentile * static_cast<double>(weights.size() - 1));
  std::nth_element(weights.begin(), at, weights.end());
  // A sparse head may have nothing but zeros there.
  return *at > 0 ? *at : *std::max_element(weights.begin(), weights.end());
}

}  // namespace

AttentionImage MakeAttentionImage(std::string name, std::span<const float> attention, int64_t num_tokens,
                                  int64_t prompt_tokens, AttentionCrop crop) {
  const int64_t stride = prompt_tokens + num_tokens;
  assert(num_tokens > 0 && static_cast<int64_t>(attention.size()) == num_tokens * stride);
  AttentionImage image{.name = std::move(name), .prompt_tokens = prompt_tokens};
  image.num_rows = crop == AttentionCrop::kWhole ? num_tokens : std::min(num_tokens, kDiagonalTokens);
  image.first_key = crop == AttentionCrop::kWhole ? 0 : prompt_tokens;
  image.num_keys = crop == AttentionCrop::kWhole ? stride : image.num_rows;
  // One scale for both axes, so that a diagonal is one.
  const double scale =
      std::max(1.0, static_cast<double>(std::max(image.num_rows, image.num_keys)) / AttentionImage::kMaxSide);
  const auto pixels = [scale](int64_t n) { return std::max<int64_t>(1, std::lround(static_cast<double>(n) / scale)); };
  const int64_t width = pixels(image.num_keys), height = pixels(image.num_rows);
  image.width = static_cast<int>(width);
  image.height = static_cast<int>(height);
  const float top = TopWeight(attention, image, stride);
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      float weight = 0;
      for (int64_t row = y * image.num_rows / height; row < (y + 1) * image.num_rows / height; ++row) {
        for (int64_t key = x * image.num_keys / width; key < (x + 1) * image.num_keys / width; ++key) {
          weight = std::max(weight, attention[static_cast<size_t>(row * stride + image.first_key + key)]);
        }
      }
      const double shown = top > 0 ? std::sqrt(std::min(1.0F, weight / top)) : 0;
      image.values.push_back(static_cast<uint8_t>(std::lround(255 * shown)));
    }
  }
  return image;
}

std::vector<std::vector<Looker>> TopLookers(std::span<const float> attention, int64_t num_tokens, int64_t prompt_tokens,
                                            int64_t min_distance, int count) {
  const int64_t stride = prompt_tokens + num_tokens;
  assert(static_cast<int64_t>(attention.size()) == num_tokens * stride);
  std::vector<std::vector<Looker>> all(static_cast<size_t>(num_tokens));
  for (int64_t t = min_distance; t < num_tokens; ++t) {
    for (int64_t s = 0; s <= t - min_distance; ++s) {
      const Looker looker{static_cast<int32_t>(t), attention[static_cast<size_t>(t * stride + prompt_tokens + s)]};
      if (!(looker.weight > 0)) continue;
      std::vector<Looker>& best = all[static_cast<size_t>(s)];
      const auto after = std::upper_bound(best.begin(), best.end(), looker,
                                          [](const Looker& a, const Looker& b) { return a.weight > b.weight; });
      best.insert(after, looker);
      if (best.size() > static_cast<size_t>(count)) best.pop_back();
    }
  }
  return all;
}

}  // namespace tactus
