// Where a decoder's parameters lie in the flat buffer, and its rotary tables: what every backend needs before it has
// laid anything out for its kernels. No torch. Internal to common/model.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/model/folder/model_config.h"
#include "common/model/shard.h"

namespace tactus {

// Offsets of one layer's parameters in the flat buffer; -1 where the family has none. k and v lie behind q, up behind
// gate, and their biases alike: so a product, and its weight's gradient, takes them as one matrix.
struct LayerOffsets {
  int64_t attention_in_norm = -1, attention_out_norm = -1, mlp_in_norm = -1, mlp_out_norm = -1;
  int64_t q, k, v, q_bias = -1, q_norm = -1, k_norm = -1, o, gate, up, down;
};

struct DecoderOffsets {
  int64_t embed = -1, final_norm = -1;
  int64_t head = -1;  // the embedding's when tied
  std::vector<LayerOffsets> layers;
};

DecoderOffsets OffsetsOf(const ModelConfig& config, const ParameterLayout& layout);

// What a pass reads one after the other, as ascending ranges of the flat buffer: part 0 is the embedding, then every
// layer, then the final norm and the head, which has the embedding's range too where it is tied.
using DecoderPart = std::vector<FlatRange>;
std::vector<DecoderPart> PartsOf(const DecoderOffsets& offsets, const ParameterLayout& layout);

// Numbers in a layer's q and k norm, for families that have them.
inline int64_t QNormSize(const ModelConfig& config) {
  return (config.qk_norm_whole ? config.num_heads : 1) * config.head_dim;
}
inline int64_t KNormSize(const ModelConfig& config) {
  return (config.qk_norm_whole ? config.num_kv_heads : 1) * config.head_dim;
}

// Cosines and sines of every position's angles, computed as transformers does. Not thread-safe.
class RopeTables {
 public:
  explicit RopeTables(const ModelConfig& config);

  // Makes the tables reach positions below `positions`. Pointers of earlier calls are then no longer valid.
  void Extend(int64_t positions);

  int64_t positions() const { return static_cast<int64_t>(cosines_.size()) / half_; }
  std::span<const float> cosines() const { return cosines_; }  // [positions, D/2]
  std::span<const float> sines() const { return sines_; }

 private:
  int64_t half_;                            // D/2
  std::vector<float> inverse_frequencies_;  // [D/2]
  std::vector<float> cosines_, sines_;
};

}  // namespace tactus
