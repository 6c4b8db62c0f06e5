// One decoder layer's backward pass, by hand. Internal to common/model.
//
// Shapes: T rows, H hidden, I intermediate, Hq/Hk heads, D head size.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/model/decoder_impl.h"
#include "common/model/decoder_weights.h"
#include "common/ops/cpu/gemm.h"

namespace tactus {

// The matrices laid out for products from the other side: d(input) = d(output) W.
struct BackwardWeights {
  struct Layer {
    ops::PackedMatrix qkv;      // [(Hq + 2 Hk) D, H]
    ops::PackedMatrix o;        // [H, Hq D]
    ops::PackedMatrix gate_up;  // [2 I, H]
    ops::PackedMatrix down;     // [H, I]
  };
  std::vector<Layer> layers;
  ops::PackedMatrix head;  // [V, H]

  explicit BackwardWeights(const DecoderWeights& weights);
  void Pack(const DecoderWeights& weights);
};

// What the forward pass of a layer kept.
struct SavedLayer {
  const float* x_in = nullptr;  // [T, H]
  LayerBuffers buffers;         // qkv, attention, gate_up, log_sum_exp, mid, qk_raw, qk_inverse_rms
};

// Memory of the backward pass, reused by every layer.
struct BackwardScratch {
  Scratch normed, inverse_rms, activated, dactivated, dgate_up, dnormed, dattention, dqkv, partial;
  ops::PackedMatrix right;  // the inputs of a layer, packed for its weight's gradient, in the weights' type
};

// dx (+)= gradient through RMSNorm, dweight += its own. Sums over rows in a fixed order for any number of threads.
void NormRowsBackward(const float* x, const std::vector<float>& weight, const float* inverse_rms, const float* dy,
                      int64_t rows, float* dx, bool accumulate_dx, float* dweight, Scratch& partial);

// dx [T, H] enters as d loss / d output and leaves as d loss / d input; gradients (flat, as the parameters) are added
// to.
void LayerBackward(const DecoderWeights& weights, const BackwardWeights& backward, int64_t layer,
                   std::span<const int32_t> positions, std::span<const int64_t> sequence_starts,
                   const SavedLayer& saved, BackwardScratch& scratch, float* dx, float* gradients);

}  // namespace tactus
