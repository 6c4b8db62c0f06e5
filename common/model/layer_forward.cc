#include "common/model/layer_forward.h"

#include <algorithm>

#include "common/ops/cpu/kernels.h"
#include "common/ops/cpu/parallel.h"

namespace tactus {
namespace {

// Rows that elementwise work is cut into: below this a second thread costs more than it brings.
constexpr int64_t kRowGrain = 8;

// Bias, q/k norm, rotary embedding and, for bfloat16 weights, the rounding of keys and values that the cache's pages
// need, of rows [begin, end), in place.
void FinishQkv(const DecoderWeights& weights, const LayerWeights& layer, std::span<const int32_t> positions,
               const LayerBuffers& buffers, int64_t begin, int64_t end) {
  const ModelConfig& config = weights.config;
  const ops::Kernels& kernels = ops::ActiveKernels();
  const int64_t d = config.head_dim, columns = weights.qkv_columns();
  const int64_t rotated = config.num_heads + config.num_kv_heads;
  for (int64_t r = begin; r < end; ++r) {
    float* row = buffers.qkv + r * columns;
    if (!layer.qkv_bias.empty()) kernels.add_scaled(layer.qkv_bias.data(), 1.0f, columns, row);
    if (buffers.qk_raw != nullptr && !layer.q_norm.empty()) {
      std::copy_n(row, rotated * d, buffers.qk_raw + r * rotated * d);
    }
    const int64_t position = positions[static_cast<size_t>(r)];
    for (int64_t h = 0; h < rotated; ++h) {
      float* head = row + h * d;
      if (!layer.q_norm.empty()) {
        const std::vector<float>& weight = h < config.num_heads ? layer.q_norm : layer.k_norm;
        float* inverse = buffers.qk_inverse_rms == nullptr ? nullptr : buffers.qk_inverse_rms + r * rotated + h;
        kernels.rms_norm(head, weight.data(), static_cast<float>(config.rms_norm_eps), 1, d, d, d, head, inverse);
      }
      kernels.rope(head, weights.cosines(position), weights.sines(position), d, 1.0f);
    }
    if (weights.dtype == StorageDType::kBFloat16) {
      kernels.round_bf16(row + config.num_heads * d, 2 * config.num_kv_heads * d);
    }
  }
}

}  // namespace

ops::AttentionShape ShapeOf(const ModelConfig& config) {
  return {.num_heads = config.num_heads, .num_kv_heads = config.num_kv_heads, .head_dim = config.head_dim};
}

void NormRows(const float* x, const std::vector<float>& weight, double eps, int64_t rows, float* y,
              float* inverse_rms) {
  const int64_t width = static_cast<int64_t>(weight.size());
  ops::ParallelFor(rows, kRowGrain, [&](int64_t begin, int64_t end) {
    ops::ActiveKernels().rms_norm(x + begin * width, weight.data(), static_cast<float>(eps), end - begin, width, width,
                                  width, y + begin * width, inverse_rms == nullptr ? nullptr : inverse_rms + begin);
  });
}

void LayerForward(const DecoderWeights& weights, int64_t layer_index, std::span<const int32_t> positions,
                  std::span<const SequenceRun> runs, ops::PagedKeysValues pages, const LayerBuffers& buffers, float* x,
                  const ops::LayerTaps* taps) {
  const ModelConfig& config = weights.config;
  const LayerWeights& layer = weights.layers[static_cast<size_t>(layer_index)];
  const int64_t rows = static_cast<int64_t>(positions.size());
  const int64_t h = config.hidden_size, inner = config.intermediate_size, columns = weights.qkv_columns();
  const int64_t q_columns = config.num_heads * config.head_dim, kv_columns = config.num_kv_heads * config.head_dim;
  const ops::AttentionShape shape = ShapeOf(config);

  NormRows(x, layer.input_norm, config.rms_norm_eps, rows, buffers.normed, nullptr);
  ops::Gemm({buffers.normed, h}, rows, layer.qkv, buffers.qkv, columns, /*accumulate=*/false);
  ops::ParallelFor(rows, kRowGrain,
                   [&](int64_t begin, int64_t end) { FinishQkv(weights, layer, positions, buffers, begin, end); });
  ops::WritePages(shape, runs, buffers.qkv + q_columns, buffers.qkv + q_columns + kv_columns, columns, pages);
  ops::PagedAttention(shape, runs, buffers.qkv, columns, pages, buffers.attention, q_columns, buffers.log_sum_exp,
                      taps);
  ops::Gemm({buffers.attention, q_columns}, rows, layer.o, x, h, /*accumulate=*/true);
  if (buffers.mid != nullptr) std::copy_n(x, rows * h, buffers.mid);

  NormRows(x, layer.post_norm, config.rms_norm_eps, rows, buffers.normed, nullptr);
  ops::Gemm({buffers.normed, h}, rows, layer.gate_up, buffers.gate_up, 2 * inner, /*accumulate=*/false);
  ops::ParallelFor(rows, kRowGrain, [&](int64_t begin, int64_t end) {
    ops::ActiveKernels().swiglu(buffers.gate_up + begin * 2 * inner, end - begin, inner,
                                buffers.activated + begin * inner);
  });
  ops::Gemm({buffers.activated, inner}, rows, layer.down, x, h, /*accumulate=*/true);
}

}  // namespace tactus
