// The backward pass of decoder_layer.h, by hand: each part is the reverse of the one it is named after.
#pragma once

#include <algorithm>

#include "common/model/decoder_layer.h"

namespace tactus {

// The place of a parameter's gradient; null where the family has none.
inline float* GradientAt(GradientPlaces gradients, int64_t offset) { return offset < 0 ? nullptr : gradients(offset); }

template <ops::Backend B>
void DecoderLayer<B>::Backward(const LayerWeights<B>& w, const LayerOffsets& at, const typename B::SequenceBatch& batch,
                               const float* x_in, const float* mid, LayerBuffers<B>& kept, float* dx, int64_t mlp_rows,
                               GradientPlaces gradients) {
  if (mlp_rows > 0) {
    MlpBackwardInParts(w, at, batch.rows(), mlp_rows, mid, kept, dx, gradients);
  } else {
    MlpBackward(w, at, batch.rows(), mid, kept, dx, gradients);
  }
  AttentionBackward(w, at, batch, x_in, kept, dx, gradients);
  b_.Release(kept.attention);
}

// Of Write: d loss / d (in w^T). The product under a norm is made again, cheaper than keeping it.
template <ops::Backend B>
auto DecoderLayer<B>::WriteBackward(const float* dx, ConstRows in, int64_t rows, const typename B::Matrix& w,
                                    const float* norm, float* dnorm) -> ConstRows {
  const ConstRows dy = b_.AsRows(dx, rows * h_, rounded_);
  if (norm == nullptr) return dy;
  const float* const product = Product(in, rows, w);
  float* const inverse = b_.FloatsIn(inverse_rms_, rows);
  float* const dproduct = b_.FloatsIn(dproduct_, rows * h_);
  b_.NormRows(product, Norm(norm, rows), b_.RowsIn(normed_, rows * h_), inverse);
  b_.NormBackward(product, Norm(norm, rows), inverse, dy, dproduct, /*accumulate=*/false, dnorm);
  return b_.AsRows(dproduct, rows * h_, rounded_);
}

// Of a linear layer on Read's result: its weight's gradient, and dx += what goes through it. The norm's output is
// made again, cheaper than keeping it.
template <ops::Backend B>
void DecoderLayer<B>::ReadBackward(const float* x, ConstRows dy, int64_t rows, int64_t columns,
                                   const typename B::Matrix& w, const float* norm, float* dweight, float* dnorm,
                                   float* dx) {
  ConstRows in = nullptr;
  float* const inverse = b_.FloatsIn(inverse_rms_, rows);
  if (norm == nullptr) {
    in = b_.AsRows(x, rows * h_, normed_);
  } else {
    const Rows normed = b_.RowsIn(normed_, rows * h_);
    b_.NormRows(x, Norm(norm, rows), normed, inverse);
    in = normed;
  }
  b_.LinearBackwardWeight(dy, rows, columns, in, h_, dweight);
  const Rows din = b_.RowsIn(din_, rows * h_);
  b_.LinearBackwardInput(dy, rows, w, din);
  if (norm == nullptr) return b_.AddTo(dx, din, rows, h_);
  b_.NormBackward(x, Norm(norm, rows), inverse, din, dx, /*accumulate=*/true, dnorm);
}

template <ops::Backend B>
void DecoderLayer<B>::MlpBackward(const LayerWeights<B>& w, const LayerOffsets& at, int64_t rows, const float* mid,
                                  LayerBuffers<B>& kept, float* dx, GradientPlaces gradients) {
  const Rows activated = b_.RowsIn(activated_, rows * inner_);
  if (w.mlp_out_norm != nullptr) Activated(rows, kept);
  const ConstRows dy =
      WriteBackward(dx, activated, rows, w.down, w.mlp_out_norm, GradientAt(gradients, at.mlp_out_norm));
  const Rows dactivated = b_.RowsIn(dnarrow_, rows * inner_);
  const Rows dgate_up = b_.RowsIn(dgate_up_, rows * 2 * inner_);
  b_.LinearBackwardInput(dy, rows, w.down, dactivated);
  b_.SwiGluBackward(b_.RowsIn(kept.gate_up, rows * 2 * inner_), dactivated, rows, inner_, dgate_up, activated);
  b_.LinearBackwardWeight(dy, rows, h_, activated, inner_, GradientAt(gradients, at.down));
  ReadBackward(mid, dgate_up, rows, 2 * inner_, w.gate_up, w.mlp_in_norm, GradientAt(gradients, at.gate),
               GradientAt(gradients, at.mlp_in_norm), dx);
}

// A row's gradient hangs on no other row.
template <ops::Backend B>
void DecoderLayer<B>::MlpBackwardInParts(const LayerWeights<B>& w, const LayerOffsets& at, int64_t rows, int64_t part,
                                         const float* mid, LayerBuffers<B>& kept, float* dx, GradientPlaces gradients) {
  for (int64_t first = 0; first < rows; first += part) {
    const int64_t n = std::min(part, rows - first);
    Stream alone{.x = const_cast<float*>(mid) + first * h_};  // with nothing pending it is only read
    GateUp(w, Read(alone, w.mlp_in_norm, n), n, kept);
    MlpBackward(w, at, n, mid + first * h_, kept, dx + first * h_, gradients);
  }
}

template <ops::Backend B>
void DecoderLayer<B>::AttentionBackward(const LayerWeights<B>& w, const LayerOffsets& at,
                                        const typename B::SequenceBatch& batch, const float* x_in,
                                        LayerBuffers<B>& kept, float* dx, GradientPlaces gradients) {
  const int64_t rows = batch.rows();
  const ConstRows attended = b_.Output(kept.attention);
  const ConstRows dy =
      WriteBackward(dx, attended, rows, w.o, w.attention_out_norm, GradientAt(gradients, at.attention_out_norm));
  const Rows dattended = b_.RowsIn(dnarrow_, rows * q_columns_);
  b_.LinearBackwardInput(dy, rows, w.o, dattended);
  b_.LinearBackwardWeight(dy, rows, h_, attended, q_columns_, GradientAt(gradients, at.o));
  const Rows dqkv = b_.RowsIn(dqkv_, rows * columns_);
  b_.AttendBackward(shape_, batch, b_.RowsIn(kept.qkv, rows * columns_), kept.attention, dattended, dqkv);
  const bool normed = qk_norms_ > 0;
  b_.FinishQkvBackward(shape_, w.qkv_finish, batch, normed ? b_.RowsIn(kept.raw, rows * columns_) : nullptr,
                       normed ? b_.FloatsIn(kept.qk_inverse_rms, rows * qk_norms_) : nullptr, dqkv,
                       {.bias = GradientAt(gradients, at.q_bias),
                        .q_norm = GradientAt(gradients, at.q_norm),
                        .k_norm = GradientAt(gradients, at.k_norm)});
  ReadBackward(x_in, dqkv, rows, columns_, w.qkv, w.attention_in_norm, GradientAt(gradients, at.q),
               GradientAt(gradients, at.attention_in_norm), dx);
}

template <ops::Backend B>
void DecoderLayer<B>::ReserveTraining(int64_t rows, int64_t mlp_rows, LayerBuffers<B>& to) {
  Reserve(rows, mlp_rows, to);
  if (qk_norms_ > 0) b_.RowsIn(to.raw, rows * columns_);
  b_.FloatsIn(to.mid, rows * h_);
  b_.RowsIn(rounded_, rows * h_);
  b_.RowsIn(din_, rows * h_);
  b_.RowsIn(dnarrow_, std::max(rows * q_columns_, mlp_rows * inner_));
  b_.RowsIn(dgate_up_, mlp_rows * 2 * inner_);
  b_.RowsIn(dqkv_, rows * columns_);
  b_.FloatsIn(inverse_rms_, rows);
  if (out_norms_) b_.FloatsIn(dproduct_, rows * h_);
}

}  // namespace tactus
