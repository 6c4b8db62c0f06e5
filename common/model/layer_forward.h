// One decoder layer's forward pass, shared to the last operation by the actor and the learner. Internal to
// common/model.
//
// Shapes: T rows, H hidden, I intermediate, Hq/Hk heads, D head size.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/model/decoder_weights.h"
#include "common/ops/cpu/attention.h"

namespace tactus {

// Where a layer's intermediate results go. Inference reuses one set for all layers; training keeps what backward needs.
struct LayerBuffers {
  float* normed = nullptr;     // [T, H] scratch
  float* qkv = nullptr;        // [T, (Hq + 2 Hk) D] as attention sees it
  float* attention = nullptr;  // [T, Hq D]
  float* gate_up = nullptr;    // [T, 2 I]
  float* activated = nullptr;  // [T, I] scratch
  // Training only, else null:
  float* qk_raw = nullptr;          // [T, (Hq + Hk) D] before the q/k norm, for families that have one
  float* qk_inverse_rms = nullptr;  // [T, Hq + Hk]
  float* log_sum_exp = nullptr;     // [T, Hq]
  float* mid = nullptr;             // [T, H] the stream between attention and MLP
};

ops::AttentionShape ShapeOf(const ModelConfig& config);

// y = RMSNorm(x) with weight [width]; inverse_rms [rows] may be null.
void NormRows(const float* x, const std::vector<float>& weight, double eps, int64_t rows, float* y, float* inverse_rms);

// positions [T]; x [T, H] is the residual stream, changed in place; pages receive the rows' keys and values; taps may
// be null.
void LayerForward(const DecoderWeights& weights, int64_t layer, std::span<const int32_t> positions,
                  std::span<const SequenceRun> runs, ops::PagedKeysValues pages, const LayerBuffers& buffers, float* x,
                  const ops::LayerTaps* taps = nullptr);

}  // namespace tactus
