// One decoder layer: its forward pass here, its backward pass in decoder_layer_backward.h. They are the only ones there
// are, for every family, backend and kind of step. Internal to common/model.
//
// A layer is two branches off the residual stream, attention and the MLP. A branch may norm what it reads (Llama), what
// it adds (OLMo 2), or both: a norm that the weights do not have is not computed. The forward pass is cut before the
// MLP and before its activation, so that activation checkpointing recomputes no more than the backward pass reads. What
// the MLP takes between may be made for some rows at a time.
//
// Shapes: R rows, H hidden, I intermediate, Hq/Hk heads, D head size.
#pragma once

#include <algorithm>
#include <cstdint>

#include "common/model/decoder_parameters.h"
#include "common/ops/backend.h"

namespace tactus {

// Where a layer's intermediate results go. Inference shares one set among all layers; training keeps one a layer, for
// what the backward pass reads of it.
template <typename B>
struct LayerBuffers {
  typename B::Buffer raw;             // [R, (Hq + 2 Hk) D] the product, apart where queries and keys are normed
  typename B::Buffer qk_inverse_rms;  // [R, norms]
  typename B::Buffer qkv;             // [R, (Hq + 2 Hk) D] as attention sees it
  typename B::Attention attention;    // [R, Hq D]
  typename B::Buffer mid;             // float32 [R, H] the stream between attention and MLP
  typename B::Buffer gate_up;         // [R, 2 I]
};

template <ops::Backend B>
class DecoderLayer {
 public:
  using Rows = typename B::Rows;
  using ConstRows = typename B::ConstRows;
  using Stream = ops::Stream<B>;

  // `backend` outlives this.
  DecoderLayer(B& backend, const ModelConfig& config)
      : b_(backend),
        shape_(AttentionShapeOf(config)),
        h_(config.hidden_size),
        inner_(config.intermediate_size),
        q_columns_(config.num_heads * config.head_dim),
        columns_((config.num_heads + 2 * config.num_kv_heads) * config.head_dim),
        qk_norms_(!config.qk_norm        ? 0
                  : config.qk_norm_whole ? 2
                                         : config.num_heads + config.num_kv_heads),
        out_norms_(config.norms_after),
        eps_(static_cast<float>(config.rms_norm_eps)) {}

  // What the first half leaves for the backward pass: copies of the stream [R, H], each null where not wanted.
  struct Keep {
    bool backward = false;
    float* x_in = nullptr;                  // as attention read it
    typename B::Buffer* rounded = nullptr;  // the same, in a narrower type of B's Rows
    float* mid = nullptr;                   // as the MLP read it
    int64_t mlp_rows = 0;  // the MLP works on so many rows at a time, of which nothing is kept; 0: on all
  };

  // `batch` is the backend's PagedBatch or SequenceBatch.
  template <typename Batch>
  void Forward(const LayerWeights<B>& w, const Batch& batch, const Keep& keep, Stream& x, LayerBuffers<B>& to) {
    const int64_t rows = batch.rows();
    const ConstRows mlp_in = ForwardToMlp(w, batch, keep, x, to);
    if (keep.mlp_rows > 0 && keep.mlp_rows < rows) return MlpInParts(w, mlp_in, rows, keep.mlp_rows, x, to);
    GateUp(w, mlp_in, rows, to);
    Write(Activated(rows, to), rows, w.down, w.mlp_out_norm, x);
  }

  // Attention; what the MLP reads.
  template <typename Batch>
  ConstRows ForwardToMlp(const LayerWeights<B>& w, const Batch& batch, const Keep& keep, Stream& x,
                         LayerBuffers<B>& to) {
    const int64_t rows = batch.rows();
    const ConstRows attention_in = Read(x, w.attention_in_norm, rows);
    if (keep.x_in != nullptr) b_.Copy(x.x, rows * h_, keep.x_in);
    if (keep.rounded != nullptr) b_.AsRows(x.x, rows * h_, *keep.rounded);
    const Rows qkv = b_.RowsIn(to.qkv, rows * columns_);
    const Rows raw = keep.backward && qk_norms_ > 0 ? b_.RowsIn(to.raw, rows * columns_) : qkv;
    float* const inverse = qk_norms_ > 0 ? b_.FloatsIn(to.qk_inverse_rms, rows * qk_norms_) : nullptr;
    b_.Linear(attention_in, rows, w.qkv, raw);
    b_.FinishQkv(shape_, w.qkv_finish, batch, raw, qkv, inverse);
    Write(b_.Attend(shape_, batch, qkv, to.attention), rows, w.o, w.attention_out_norm, x);
    const ConstRows mlp_in = Read(x, w.mlp_in_norm, rows);
    if (keep.mid != nullptr) b_.Copy(x.x, rows * h_, keep.mid);
    return mlp_in;
  }

  // dx [R, H] enters as d loss / d output and leaves as d loss / d input; `gradients` are added to. x_in and `mid` are
  // what Keep asked for; `kept` what the forward pass left, of the MLP nothing where mlp_rows is above 0: it is made
  // again for so many rows at a time. In decoder_layer_backward.h.
  void Backward(const LayerWeights<B>& w, const LayerOffsets& at, const typename B::SequenceBatch& batch,
                const float* x_in, const float* mid, LayerBuffers<B>& kept, float* dx, int64_t mlp_rows,
                GradientPlaces gradients);

  // Makes room for training on `rows` rows, of which `to` keeps what the backward pass reads, and whose MLPs work on
  // `mlp_rows` at a time; but for attention's own. In decoder_layer_backward.h.
  void ReserveTraining(int64_t rows, int64_t mlp_rows, LayerBuffers<B>& to);
  // The same for forward passes that keep nothing.
  void Reserve(int64_t rows, int64_t mlp_rows, LayerBuffers<B>& to) {
    for (auto* buffer : {&normed_, &delta_}) b_.RowsIn(*buffer, rows * h_);
    b_.RowsIn(activated_, mlp_rows * inner_);
    b_.RowsIn(to.qkv, rows * columns_);
    b_.RowsIn(to.gate_up, mlp_rows * 2 * inner_);
    if (qk_norms_ > 0) b_.FloatsIn(to.qk_inverse_rms, rows * qk_norms_);
    if (!out_norms_) return;
    b_.RowsIn(product_, rows * h_);
    b_.FloatsIn(wide_, rows * h_);
  }

 private:
  ops::NormShape Norm(const float* weight, int64_t rows) const {
    return {.rows = rows, .width = h_, .weight = weight, .eps = eps_};
  }

  // A branch's input: the stream, normed or as it is.
  ConstRows Read(Stream& x, const float* norm, int64_t rows) {
    if (norm == nullptr) {
      b_.Settle(x, rows, h_);
      return b_.AsRows(x.x, rows * h_, normed_);
    }
    const Rows normed = b_.RowsIn(normed_, rows * h_);
    b_.Norm(x, Norm(norm, rows), normed, nullptr);
    return normed;
  }

  // A branch's output: x += in w^T, or what a norm makes of that product.
  void Write(ConstRows in, int64_t rows, const typename B::Matrix& w, const float* norm, Stream& x) {
    if (norm == nullptr) return b_.AddLinear(x, in, rows, w, delta_);
    const Rows delta = b_.RowsIn(delta_, rows * h_);
    b_.NormRows(Product(in, rows, w), Norm(norm, rows), delta, nullptr);
    b_.Add(x, delta, rows, h_);
  }

  const float* Product(ConstRows in, int64_t rows, const typename B::Matrix& w) {
    const Rows product = b_.RowsIn(product_, rows * h_);
    b_.Linear(in, rows, w, product);
    return b_.AsFloats(product, rows, h_, wide_);
  }

  void GateUp(const LayerWeights<B>& w, ConstRows mlp_in, int64_t rows, LayerBuffers<B>& to) {
    b_.Linear(mlp_in, rows, w.gate_up, b_.RowsIn(to.gate_up, rows * 2 * inner_));
  }

  // The MLP's output, as Write adds it to the stream.
  void MlpInParts(const LayerWeights<B>& w, ConstRows mlp_in, int64_t rows, int64_t part, Stream& x,
                  LayerBuffers<B>& to) {
    const Rows delta = b_.RowsIn(delta_, rows * h_);
    for (int64_t first = 0; first < rows; first += part) {
      const int64_t n = std::min(part, rows - first);
      GateUp(w, b_.At(mlp_in, first * h_), n, to);
      const ConstRows in = Activated(n, to);
      const Rows out = b_.At(delta, first * h_);
      if (w.mlp_out_norm == nullptr) {
        b_.Linear(in, n, w.down, out);
      } else {
        b_.NormRows(Product(in, n, w.down), Norm(w.mlp_out_norm, n), out, nullptr);
      }
    }
    b_.Add(x, delta, rows, h_);
  }

  ConstRows Activated(int64_t rows, LayerBuffers<B>& from) {
    const Rows activated = b_.RowsIn(activated_, rows * inner_);
    b_.SwiGlu(b_.RowsIn(from.gate_up, rows * 2 * inner_), rows, inner_, activated);
    return activated;
  }

  ConstRows WriteBackward(const float* dx, ConstRows in, int64_t rows, const typename B::Matrix& w, const float* norm,
                          float* dnorm);
  void ReadBackward(const float* x, ConstRows dy, int64_t rows, int64_t columns, const typename B::Matrix& w,
                    const float* norm, float* dweight, float* dnorm, float* dx);
  void MlpBackward(const LayerWeights<B>& w, const LayerOffsets& at, int64_t rows, const float* mid,
                   LayerBuffers<B>& kept, float* dx, GradientPlaces gradients);
  void MlpBackwardInParts(const LayerWeights<B>& w, const LayerOffsets& at, int64_t rows, int64_t part,
                          const float* mid, LayerBuffers<B>& kept, float* dx, GradientPlaces gradients);
  void AttentionBackward(const LayerWeights<B>& w, const LayerOffsets& at, const typename B::SequenceBatch& batch,
                         const float* x_in, LayerBuffers<B>& kept, float* dx, GradientPlaces gradients);

  B& b_;
  const ops::AttentionShape shape_;
  const int64_t h_, inner_, q_columns_, columns_;  // H, I, Hq D, (Hq + 2 Hk) D
  const int64_t qk_norms_;                         // of a row
  const bool out_norms_;
  const float eps_;

  // Reused by every layer. A branch's input, its output, the MLP's product inside; a product under a norm, and as
  // float32.
  typename B::Buffer normed_, delta_, activated_, product_, wide_;
  // Gradients: of the stream as T, of a branch's input; of the MLP's or attention's output; of the products; under a
  // norm.
  typename B::Buffer rounded_, din_, dnarrow_, dgate_up_, dqkv_, dproduct_, inverse_rms_;
};

}  // namespace tactus
