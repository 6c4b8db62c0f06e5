// What the rhythm page shows of attention: one head as a small image, and who looks at whom. Pure functions,
// thread-safe. Attention is [N, P + N], row-major: row t is the distribution of the query at response token t, key j
// an absolute position, as in common/rhythm/rhythm.h.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace tactus {

// What the pixels cover, so that the page can say which token is where.
struct AttentionImage {
  static constexpr int kMaxSide = 160;
  std::string name = {};                // "Local head: layer 13, head 2"
  int width = 0, height = 0;            // pixels, at most kMaxSide each
  std::vector<uint8_t> values = {};     // [height, width]
  int64_t num_rows = 0;                 // response tokens 0 … num_rows - 1, from top to bottom
  int64_t first_key = 0, num_keys = 0;  // absolute positions, from left to right
  int64_t prompt_tokens = 0;            // P
};

enum class AttentionCrop {
  kWhole,     // every row and key: the vertical stripes of a global head
  kDiagonal,  // the first 96 response tokens among themselves, a pixel each: the sawtooth of a local head
};

// Each pixel is the largest weight it covers (a mean would dim a stripe one token wide), on a square-root scale whose
// top is the 99th percentile without key 0, which nearly every head uses as its sink. N >= 1.
AttentionImage MakeAttentionImage(std::string name, std::span<const float> attention, int64_t num_tokens,
                                  int64_t prompt_tokens, AttentionCrop crop);

// A later token, and the weight with which it looks at an earlier one.
struct Looker {
  int32_t token = 0;  // index of a response token
  float weight = 0;
  friend bool operator==(const Looker&, const Looker&) = default;
};

// For each response token s, up to `count` tokens t >= s + min_distance with the largest weight on it, the largest
// first, ties to the earlier; zero weights are left out.
std::vector<std::vector<Looker>> TopLookers(std::span<const float> attention, int64_t num_tokens, int64_t prompt_tokens,
                                            int64_t min_distance, int count = 3);

}  // namespace tactus
