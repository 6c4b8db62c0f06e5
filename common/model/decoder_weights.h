// A decoder's parameters, and the same laid out for the kernels. Internal to common/model.
//
// Shapes: H hidden, I intermediate, Hq/Hk query and key/value heads, D head size, V vocabulary.
// Not thread-safe.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "common/model/decoder_layout.h"
#include "common/model/folder/hf_folder.h"
#include "common/model/folder/model_config.h"
#include "common/ops/cpu/buffer.h"
#include "common/ops/cpu/gemm.h"

namespace tactus {

struct LayerWeights {
  std::vector<float> input_norm;  // [H]
  std::vector<float> qkv_bias;    // [(Hq + 2 Hk) D] or empty
  std::vector<float> q_norm;      // [D] or empty
  std::vector<float> k_norm;      // [D] or empty
  std::vector<float> post_norm;   // [H]
  ops::PackedMatrix qkv;          // [H, (Hq + 2 Hk) D]
  ops::PackedMatrix o;            // [Hq D, H]
  ops::PackedMatrix gate_up;      // [H, 2 I]
  ops::PackedMatrix down;         // [I, H]
};

class DecoderWeights {
 public:
  DecoderWeights(const ModelConfig& config, StorageDType dtype);

  // Rounds to the storage dtype and lays out every matrix from the flat parameters.
  void Pack();

  // Row of the embedding table, rounded to the storage dtype, to out [H].
  void Embed(int32_t token, float* out) const;

  // Rotary tables for positions below `positions`: [positions, D/2] each.
  void EnsureRope(int64_t positions) { rope_.Extend(positions); }
  const float* cosines(int64_t position) const { return rope_.cosines(position); }
  const float* sines(int64_t position) const { return rope_.sines(position); }

  int64_t qkv_columns() const { return (config.num_heads + 2 * config.num_kv_heads) * config.head_dim; }

  const ModelConfig config;
  const ParameterLayout layout;
  const StorageDType dtype;
  ops::Buffer<float> flat;  // [layout.total_numel], float32 master values
  std::vector<LayerOffsets> offsets;
  int64_t embed_offset, final_norm_offset, head_offset;  // head = embedding when tied
  std::vector<LayerWeights> layers;
  std::vector<float> final_norm;  // [H]
  ops::PackedMatrix head;         // [H, V]
  int64_t generation = 0;         // + 1 per Pack: who keeps another layout sees that it is old

 private:
  std::vector<float> Rounded(int64_t offset, int64_t count) const;

  RopeTables rope_;
};

}  // namespace tactus
