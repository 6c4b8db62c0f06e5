// What a DecoderLm owns. Internal to common/model: TrainableLm works on the same weights.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/model/decoder_lm.h"
#include "common/model/decoder_weights.h"
#include "common/model/layer_forward.h"

namespace tactus {

// Scratch memory that grows to its largest use and stays.
class Scratch {
 public:
  float* Get(int64_t count) {
    buffer_.Reserve(count);
    return buffer_.data();
  }

 private:
  ops::Buffer<float> buffer_;
};

struct DecoderLm::Impl {
  Impl(const ModelConfig& config, StorageDType dtype) : weights(config, dtype) {}

  // Positions of all rows, and rotary tables that reach them.
  void FillPositions(std::span<const SequenceRun> runs, int64_t rows) {
    positions.resize(static_cast<size_t>(rows));
    int64_t longest = 0;
    for (const SequenceRun& run : runs) {
      for (int64_t r = 0; r < run.num_rows; ++r) {
        positions[static_cast<size_t>(run.first_row + r)] = static_cast<int32_t>(run.start_position + r);
      }
      longest = std::max(longest, run.start_position + run.num_rows);
    }
    weights.EnsureRope(longest);
  }

  LayerBuffers InferenceBuffers(int64_t rows) {
    const ModelConfig& config = weights.config;
    return {.normed = normed.Get(rows * config.hidden_size),
            .qkv = qkv.Get(rows * weights.qkv_columns()),
            .attention = attention.Get(rows * config.num_heads * config.head_dim),
            .gate_up = gate_up.Get(rows * 2 * config.intermediate_size),
            .activated = activated.Get(rows * config.intermediate_size)};
  }

  DecoderWeights weights;
  std::vector<int32_t> positions;  // [T] of the running step
  Scratch stream, normed, qkv, attention, gate_up, activated, chosen;
};

}  // namespace tactus
