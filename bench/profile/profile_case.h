// What the parts of the profile share: the shapes they are of, and where their lines go.
#pragma once

#include <cstdint>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <random>
#include <vector>

#include "bench/figures.h"
#include "bench/profile/recorder.h"
#include "bench/profile/roofs.h"
#include "common/model/folder/model_config.h"

namespace tactus {

inline ModelConfig SmolLm2Shape() {
  return {.vocab_size = 49152,
          .hidden_size = 576,
          .intermediate_size = 1536,
          .num_layers = 30,
          .num_heads = 9,
          .num_kv_heads = 3,
          .head_dim = 64,
          .rms_norm_eps = 1e-5,
          .rope_theta = 100000,
          .max_position = 8192,
          .tie_word_embeddings = true};
}

inline ModelConfig Qwen3Shape() {
  return {.vocab_size = 151936,
          .hidden_size = 1024,
          .intermediate_size = 3072,
          .num_layers = 28,
          .num_heads = 16,
          .num_kv_heads = 8,
          .head_dim = 128,
          .rms_norm_eps = 1e-6,
          .rope_theta = 1000000,
          .max_position = 40960,
          .tie_word_embeddings = true,
          .qk_norm = true};
}

// models/quickstart.
inline ModelConfig QuickStartShape() {
  return {.vocab_size = 464,
          .hidden_size = 128,
          .intermediate_size = 384,
          .num_layers = 4,
          .num_heads = 4,
          .num_kv_heads = 2,
          .head_dim = 32,
          .max_position = 512,
          .tie_word_embeddings = true};
}

// Uniform in [-scale, scale], the same in every run.
template <typename Floats>
void FillUniform(Floats&& values, float scale, uint32_t seed) {
  std::minstd_rand random(seed + 1);
  const float step = 2 * scale / static_cast<float>(std::minstd_rand::max());
  for (float& value : values) value = static_cast<float>(random()) * step - scale;
}

inline void Print(const nlohmann::json& line) {
  std::printf("%s\n", line.dump().c_str());
  std::fflush(stdout);
}

// The roofs, measured again and again: what another user of the machine takes away changes from minute to minute.
class RoofSamples {
 public:
  explicit RoofSamples(StorageDType dtype) : dtype_(dtype) {}

  void Measure() {
    memory_.push_back(roofs_.MemoryReadRate());
    cache_.push_back(roofs_.CacheReadRate());
    arithmetic_.push_back(roofs_.ArithmeticRate(dtype_));
  }
  // Medians of the last `count` samples.
  Limits Last(size_t count) const {
    const auto median = [&](const std::vector<double>& all) {
      const size_t from = all.size() > count ? all.size() - count : 0;
      return Spread({all.begin() + static_cast<std::ptrdiff_t>(from), all.end()})["median"].get<double>();
    };
    return {.operations = median(arithmetic_), .memory_bytes = median(memory_), .cache_bytes = median(cache_)};
  }
  size_t size() const { return memory_.size(); }
  // One line, of all samples.
  nlohmann::json Line() const {
    std::vector<double> range, small, huge;
    for (int i = 0; i < 9; ++i) {
      range.push_back(roofs_.RangeSeconds());
      small.push_back(roofs_.SmallFaultSeconds());
      huge.push_back(roofs_.HugeFaultSeconds());
    }
    return {{"part", "roofs"},
            {"memory_bytes_per_s", Spread(memory_)},
            {"cache_bytes_per_s", Spread(cache_)},
            {"operations_per_s", Spread(arithmetic_)},
            {"range_s", Spread(range)},
            {"fault_4k_s", Spread(small)},
            {"fault_2m_s", Spread(huge)}};
  }

 private:
  const StorageDType dtype_;
  Roofs roofs_;
  std::vector<double> memory_, cache_, arithmetic_;
};

}  // namespace tactus
