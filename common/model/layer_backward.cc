#include "common/model/layer_backward.h"

#include <algorithm>

#include "common/ops/cpu/kernels.h"
#include "common/ops/cpu/parallel.h"

namespace tactus {
namespace {

// Rows whose contributions to a norm's or bias's gradient are summed by one thread; blocks are then added in order.
constexpr int64_t kBlockRows = 64;

// Runs fn(begin, end, partial sums [width]) on blocks of rows and adds the partial sums to `total` in block order.
template <typename Fn>
void SumOverBlocks(int64_t rows, int64_t width, Scratch& partial, float* total, Fn fn) {
  const int64_t blocks = (rows + kBlockRows - 1) / kBlockRows;
  float* sums = partial.Get(blocks * width);
  ops::ParallelFor(blocks, 1, [&](int64_t first, int64_t last) {
    for (int64_t b = first; b < last; ++b) {
      std::fill_n(sums + b * width, width, 0.0f);
      fn(b * kBlockRows, std::min(rows, (b + 1) * kBlockRows), sums + b * width);
    }
  });
  for (int64_t b = 0; b < blocks; ++b) ops::ActiveKernels().add_scaled(sums + b * width, 1.0f, width, total);
}

class Pass {
 public:
  Pass(const DecoderWeights& weights, const BackwardWeights& backward, int64_t layer,
       std::span<const int32_t> positions, std::span<const int64_t> sequence_starts, const SavedLayer& saved,
       BackwardScratch& scratch, float* dx, float* gradients)
      : weights_(weights),
        config_(weights.config),
        layer_(weights.layers[static_cast<size_t>(layer)]),
        backward_(backward.layers[static_cast<size_t>(layer)]),
        at_(weights.offsets[static_cast<size_t>(layer)]),
        positions_(positions),
        sequence_starts_(sequence_starts),
        saved_(saved),
        s_(scratch),
        dx_(dx),
        gradients_(gradients),
        rows_(static_cast<int64_t>(positions.size())),
        h_(config_.hidden_size),
        inner_(config_.intermediate_size),
        q_columns_(config_.num_heads * config_.head_dim),
        kv_columns_(config_.num_kv_heads * config_.head_dim),
        columns_(weights.qkv_columns()) {}

  void Mlp() {
    const float* mid = saved_.buffers.mid;
    const float* gate_up = saved_.buffers.gate_up;
    float* activated = s_.activated.Get(rows_ * inner_);
    float* dactivated = s_.dactivated.Get(rows_ * inner_);
    float* dgate_up = s_.dgate_up.Get(rows_ * 2 * inner_);
    ops::Gemm({dx_, h_}, rows_, backward_.down, dactivated, inner_, /*accumulate=*/false);
    ops::ParallelFor(rows_, 8, [&](int64_t begin, int64_t end) {
      const ops::Kernels& kernels = ops::ActiveKernels();
      kernels.swiglu(gate_up + begin * 2 * inner_, end - begin, inner_, activated + begin * inner_);
      kernels.swiglu_backward(gate_up + begin * 2 * inner_, dactivated + begin * inner_, end - begin, inner_,
                              dgate_up + begin * 2 * inner_);
    });
    PackRight(activated, inner_);
    ops::GemmTransposedA(dx_, h_, h_, s_.right, gradients_ + at_.down, inner_);
    NormInput(mid, layer_.post_norm);
    ops::GemmTransposedA(dgate_up, 2 * inner_, inner_, s_.right, gradients_ + at_.gate, h_);
    ops::GemmTransposedA(dgate_up + inner_, 2 * inner_, inner_, s_.right, gradients_ + at_.up, h_);
    float* dnormed = s_.dnormed.Get(rows_ * h_);
    ops::Gemm({dgate_up, 2 * inner_}, rows_, backward_.gate_up, dnormed, h_, /*accumulate=*/false);
    NormRowsBackward(mid, layer_.post_norm, s_.inverse_rms.Get(rows_), dnormed, rows_, dx_, /*accumulate_dx=*/true,
                     gradients_ + at_.post_norm, s_.partial);
  }

  void Attention() {
    const float* attention = saved_.buffers.attention;
    float* dattention = s_.dattention.Get(rows_ * q_columns_);
    float* dqkv = s_.dqkv.Get(rows_ * columns_);
    ops::Gemm({dx_, h_}, rows_, backward_.o, dattention, q_columns_, /*accumulate=*/false);
    PackRight(attention, q_columns_);
    ops::GemmTransposedA(dx_, h_, h_, s_.right, gradients_ + at_.o, q_columns_);
    const float* qkv = saved_.buffers.qkv;
    ops::AttentionBackward(ShapeOf(config_), {.sequence_starts = sequence_starts_,
                                              .q = qkv,
                                              .k = qkv + q_columns_,
                                              .v = qkv + q_columns_ + kv_columns_,
                                              .qkv_row = columns_,
                                              .out = attention,
                                              .dout = dattention,
                                              .log_sum_exp = saved_.buffers.log_sum_exp,
                                              .dq = dqkv,
                                              .dk = dqkv + q_columns_,
                                              .dv = dqkv + q_columns_ + kv_columns_});
    QkvBackward(dqkv);
    NormInput(saved_.x_in, layer_.input_norm);
    ops::GemmTransposedA(dqkv, columns_, q_columns_, s_.right, gradients_ + at_.q, h_);
    ops::GemmTransposedA(dqkv + q_columns_, columns_, kv_columns_, s_.right, gradients_ + at_.k, h_);
    ops::GemmTransposedA(dqkv + q_columns_ + kv_columns_, columns_, kv_columns_, s_.right, gradients_ + at_.v, h_);
    float* dnormed = s_.dnormed.Get(rows_ * h_);
    ops::Gemm({dqkv, columns_}, rows_, backward_.qkv, dnormed, h_, /*accumulate=*/false);
    NormRowsBackward(saved_.x_in, layer_.input_norm, s_.inverse_rms.Get(rows_), dnormed, rows_, dx_,
                     /*accumulate_dx=*/true, gradients_ + at_.input_norm, s_.partial);
  }

 private:
  void PackRight(const float* x, int64_t width) {
    s_.right.Resize(rows_, width);
    s_.right.PackRows(x, rows_, 0, width);
  }

  // Recomputes a norm's output, cheaper than keeping it, and packs it.
  void NormInput(const float* x, const std::vector<float>& weight) {
    float* normed = s_.normed.Get(rows_ * h_);
    NormRows(x, weight, config_.rms_norm_eps, rows_, normed, s_.inverse_rms.Get(rows_));
    PackRight(normed, h_);
  }

  // Through the rotary embedding, the q/k norm and the bias, in place.
  void QkvBackward(float* dqkv) {
    const int64_t d = config_.head_dim, rotated = config_.num_heads + config_.num_kv_heads;
    ops::ParallelFor(rows_, 8, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const int64_t position = positions_[static_cast<size_t>(r)];
        for (int64_t head = 0; head < rotated; ++head) {
          ops::ActiveKernels().rope(dqkv + r * columns_ + head * d, weights_.cosines(position),
                                    weights_.sines(position), d, -1.0f);
        }
      }
    });
    if (!layer_.q_norm.empty()) {
      HeadNormBackward(dqkv, layer_.q_norm, 0, config_.num_heads, gradients_ + at_.q_norm);
      HeadNormBackward(dqkv, layer_.k_norm, config_.num_heads, rotated, gradients_ + at_.k_norm);
    }
    if (!layer_.qkv_bias.empty()) {
      AddColumnSums(dqkv, q_columns_, gradients_ + at_.q_bias);
      AddColumnSums(dqkv + q_columns_, kv_columns_, gradients_ + at_.k_bias);
      AddColumnSums(dqkv + q_columns_ + kv_columns_, kv_columns_, gradients_ + at_.v_bias);
    }
  }

  void HeadNormBackward(float* dqkv, const std::vector<float>& weight, int64_t first_head, int64_t last_head,
                        float* dweight) {
    const int64_t d = config_.head_dim, rotated = config_.num_heads + config_.num_kv_heads;
    SumOverBlocks(rows_, d, s_.partial, dweight, [&](int64_t begin, int64_t end, float* sums) {
      for (int64_t r = begin; r < end; ++r) {
        for (int64_t head = first_head; head < last_head; ++head) {
          float* gradient = dqkv + r * columns_ + head * d;
          ops::ActiveKernels().rms_norm_backward(saved_.buffers.qk_raw + (r * rotated + head) * d, weight.data(),
                                                 saved_.buffers.qk_inverse_rms + r * rotated + head, gradient, 1, d, d,
                                                 d, d, gradient, sums, /*accumulate_dx=*/false);
        }
      }
    });
  }

  void AddColumnSums(const float* x, int64_t width, float* total) {
    SumOverBlocks(rows_, width, s_.partial, total, [&](int64_t begin, int64_t end, float* sums) {
      for (int64_t r = begin; r < end; ++r) ops::ActiveKernels().add_scaled(x + r * columns_, 1.0f, width, sums);
    });
  }

  const DecoderWeights& weights_;
  const ModelConfig& config_;
  const LayerWeights& layer_;
  const BackwardWeights::Layer& backward_;
  const LayerOffsets& at_;
  const std::span<const int32_t> positions_;
  const std::span<const int64_t> sequence_starts_;
  const SavedLayer& saved_;
  BackwardScratch& s_;
  float* const dx_;
  float* const gradients_;
  const int64_t rows_, h_, inner_, q_columns_, kv_columns_, columns_;
};

}  // namespace

BackwardWeights::BackwardWeights(const DecoderWeights& weights) : layers(weights.layers.size()) {
  const ModelConfig& config = weights.config;
  const ops::PanelType type = weights.head.type();
  for (Layer& layer : layers) {
    layer.qkv = ops::PackedMatrix(weights.qkv_columns(), config.hidden_size, type);
    layer.o = ops::PackedMatrix(config.hidden_size, config.num_heads * config.head_dim, type);
    layer.gate_up = ops::PackedMatrix(2 * config.intermediate_size, config.hidden_size, type);
    layer.down = ops::PackedMatrix(config.hidden_size, config.intermediate_size, type);
  }
  head = ops::PackedMatrix(config.vocab_size, config.hidden_size, type);
}

void BackwardWeights::Pack(const DecoderWeights& weights) {
  const ModelConfig& config = weights.config;
  const float* flat = weights.flat.data();
  const int64_t h = config.hidden_size, inner = config.intermediate_size;
  const int64_t q = config.num_heads * config.head_dim, kv = config.num_kv_heads * config.head_dim;
  for (size_t i = 0; i < layers.size(); ++i) {
    const LayerOffsets& at = weights.offsets[i];
    layers[i].qkv.PackRows(flat + at.q, q, 0, h);
    layers[i].qkv.PackRows(flat + at.k, kv, q, h);
    layers[i].qkv.PackRows(flat + at.v, kv, q + kv, h);
    layers[i].o.PackRows(flat + at.o, h, 0, q);
    layers[i].gate_up.PackRows(flat + at.gate, inner, 0, h);
    layers[i].gate_up.PackRows(flat + at.up, inner, inner, h);
    layers[i].down.PackRows(flat + at.down, h, 0, inner);
  }
  head.PackRows(flat + weights.head_offset, config.vocab_size, 0, h);
}

void NormRowsBackward(const float* x, const std::vector<float>& weight, const float* inverse_rms, const float* dy,
                      int64_t rows, float* dx, bool accumulate_dx, float* dweight, Scratch& partial) {
  const int64_t width = static_cast<int64_t>(weight.size());
  SumOverBlocks(rows, width, partial, dweight, [&](int64_t begin, int64_t end, float* sums) {
    ops::ActiveKernels().rms_norm_backward(x + begin * width, weight.data(), inverse_rms + begin, dy + begin * width,
                                           end - begin, width, width, width, width, dx + begin * width, sums,
                                           accumulate_dx);
  });
}

void LayerBackward(const DecoderWeights& weights, const BackwardWeights& backward, int64_t layer,
                   std::span<const int32_t> positions, std::span<const int64_t> sequence_starts,
                   const SavedLayer& saved, BackwardScratch& scratch, float* dx, float* gradients) {
  Pass pass(weights, backward, layer, positions, sequence_starts, saved, scratch, dx, gradients);
  pass.Mlp();
  pass.Attention();
}

}  // namespace tactus
