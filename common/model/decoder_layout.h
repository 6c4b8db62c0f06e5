// Where a decoder's parameters lie in the flat buffer, and its rotary tables: what every implementation of the decoder
// needs before it has laid anything out for its kernels. No torch. Internal to common/model.
#pragma once

#include <cstdint>
#include <vector>

#include "common/model/folder/model_config.h"

namespace tactus {

// Offsets of one layer's parameters in the flat buffer; -1 where the family has none.
struct LayerOffsets {
  int64_t input_norm, q, k, v, q_bias = -1, k_bias = -1, v_bias = -1, q_norm = -1, k_norm = -1, o, post_norm, gate, up,
                               down;
};

struct DecoderOffsets {
  int64_t embed = -1, final_norm = -1;
  int64_t head = -1;  // the embedding's when tied
  std::vector<LayerOffsets> layers;
};

DecoderOffsets OffsetsOf(const ModelConfig& config, const ParameterLayout& layout);

// Cosines and sines of every position's angles, computed as transformers does. Not thread-safe.
class RopeTables {
 public:
  explicit RopeTables(const ModelConfig& config);

  // Makes the tables reach positions below `positions`. Pointers of earlier calls are then no longer valid.
  void Extend(int64_t positions);

  int64_t half() const { return half_; }  // D/2
  int64_t positions() const { return static_cast<int64_t>(cosines_.size()) / half_; }
  const float* cosines(int64_t position) const { return cosines_.data() + position * half_; }  // [positions, D/2]
  const float* sines(int64_t position) const { return sines_.data() + position * half_; }

 private:
  int64_t half_;                            // D/2
  std::vector<float> inverse_frequencies_;  // [D/2]
  std::vector<float> cosines_, sines_;
};

}  // namespace tactus
