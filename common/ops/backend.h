// What a device offers the decoder: the types it keeps things in, and the ops of a forward and a backward pass. The
// decoder (common/model) is a template over a backend and stands once; CpuBackend (cpu/backend_cpu.h) and CudaBackend
// (cuda/backend_cuda.h) are the two there are. A third is a class that satisfies this contract, and passes
// tests/ops/conformance.
//
// Types, B being the backend. All pointers are to memory that B computes in; "rows" are row-major and dense.
//   Rows, ConstRows   activations [R, width] in T, the backend's type for them: float32 on the CPU, on a GPU the
//                     weights' storage type. The residual stream, its gradient, statistics, norm weights and all
//                     gradients of parameters are float32 everywhere (float*).
//   Buffer            memory that grows to its largest use and stays; asking for no more than before moves nothing and
//                     keeps the content. It grows by a quarter at least. Empty at first.
//   Matrix            a linear layer's weight [columns, depth] as B's products want it.
//   Attention         what attention made of a layer: its output, and what its backward pass needs.
//   Upload            HostArrays with Send and At<T>(place): where the arrays are for B.
//   PagedBatch        a step's rows over a paged KvCache: tokens, rotary (RotaryRows), rows(), probe, AtLayer(pages,
//                     first_head): which layer the next Attend is for; first_head < 0: it is not measured.
//   SequenceBatch     whole sequences for training: tokens(), rotary, rows(), Add(tokens, PackedLayout, upload), then,
//                     when the upload is sent, Bind(upload). A row attends to the shared tokens before its sequence's
//                     rows as to its own; their keys' and values' gradients are the sums over all who share them.
//   KvCache           the pages of all layers; layer(i) are the Pages that AtLayer takes.
//
// Rules every backend keeps: a row's result depends on that row and its sequence alone, bit for bit, but for products
// where the device's library promises less (CudaBackend says so); sums over rows have a fixed order, so the same inputs
// give the same bits in every run; gradients of parameters are added to. One thread owns a backend. On a GPU calls
// enqueue and return, but for those that say that they wait.
#pragma once

#include <concepts>
#include <cstdint>
#include <span>
#include <vector>

#include "common/ops/attention_types.h"
#include "common/ops/packed_layout.h"
#include "common/ops/token_types.h"
#include "common/ops/upload.h"

namespace tactus::ops {

// The residual stream [R, H], with what a linear layer has made for it and nobody has added yet.
template <typename B>
struct Stream {
  float* x = nullptr;
  typename B::ConstRows pending = nullptr;  // [R, H] or null
};

// y = x / sqrt(mean(x^2) + eps) * weight, of rows of `width` numbers.
struct NormShape {
  int64_t rows = 0;
  int64_t width = 0;
  const float* weight = nullptr;  // [width]
  float eps = 0;
};

// Where rows stand in their sequences, and tables [positions, D / 2] that reach them.
struct RotaryRows {
  const int32_t* positions = nullptr;  // [R]
  const float* cosines = nullptr;
  const float* sines = nullptr;
};

// What turns the qkv product's rows [Hq + 2 Hk, D] into queries, keys and values: the bias, the q/k norm, the rotation.
template <typename B>
struct QkvWeights {
  typename B::ConstRows bias = nullptr;  // [(Hq + 2 Hk) D] or null
  const float* q_norm = nullptr;         // [D], or with whole_width [Hq D]; null: no norm
  const float* k_norm = nullptr;         // [D], or with whole_width [Hk D]
  bool whole_width = false;              // one norm over all query heads and one over all key heads, not one a head
  float eps = 0;

  // Norms a row has: 1 / rms of each goes to qk_inverse_rms [R, norms].
  int64_t norms(const AttentionShape& shape) const {
    if (q_norm == nullptr) return 0;
    return whole_width ? 2 : shape.num_heads + shape.num_kv_heads;
  }
};
struct QkvGradients {
  float* bias = nullptr;
  float* q_norm = nullptr;
  float* k_norm = nullptr;
};

template <typename B>
concept Backend = requires(B& b, typename B::Buffer& buffer, typename B::Rows out, typename B::ConstRows in,
                           const typename B::Matrix& matrix, Stream<B>& stream, const NormShape& norm, const float* x,
                           float* y, int64_t n, const int32_t* index, const AttentionShape& shape,
                           const QkvWeights<B>& qkv, const QkvGradients& qkv_gradients, typename B::PagedBatch& paged,
                           typename B::SequenceBatch& whole, typename B::Attention& attention,
                           typename B::Upload& upload, const TokenLogProb* stats, float temperature) {
  // Memory. narrow: Rows hold fewer digits than float32. Keep: a host array where B reads it, `buffer` being its place
  // if it must be copied; waits.
  { b.narrow() } -> std::same_as<bool>;
  { b.RowsIn(buffer, n) } -> std::same_as<typename B::Rows>;
  { b.FloatsIn(buffer, n) } -> std::same_as<float*>;
  { b.At(out, n) } -> std::same_as<typename B::Rows>;  // n numbers further
  { b.Keep(std::span<const float>(), buffer) } -> std::same_as<const float*>;
  b.Copy(x, n, y);
  b.Zero(y, n);
  upload.Clear();
  b.Send(upload);
  { b.memory_moves() } -> std::same_as<int64_t>;  // how often a Buffer has moved, so far

  // The stream. Settle: adds what is pending. Norm: the same, then normalises; inverse_rms [R] may be null.
  b.Embed(index, /*rows=*/n, /*table=*/in, /*width=*/n, /*x=*/y);
  b.Settle(stream, /*rows=*/n, /*width=*/n);
  b.Norm(stream, norm, out, /*inverse_rms=*/y);
  b.Add(stream, in, /*rows=*/n, /*width=*/n);                         // x += in; `in` stays till Settle or Norm
  b.AddLinear(stream, in, /*rows=*/n, matrix, /*product=*/buffer);    // the same of in * matrix
  { b.AsRows(x, n, buffer) } -> std::same_as<typename B::ConstRows>;  // float32 rounded to T; x itself where that is T
  { b.AsFloats(in, /*rows=*/n, /*width=*/n, buffer) } -> std::same_as<const float*>;
  b.NormRows(x, norm, out, /*inverse_rms=*/y);
  b.NormBackward(x, norm, /*inverse_rms=*/x, /*dy=*/in, /*dx=*/y, /*accumulate=*/true, /*dweight=*/y);
  b.AddTo(y, in, /*rows=*/n, /*width=*/n);  // y += in

  // Linear layers: y = x w^T, and its gradients.
  b.Linear(in, /*rows=*/n, matrix, out);
  b.LinearToFloats(in, /*rows=*/n, matrix, y);
  b.LinearBackwardInput(in, /*rows=*/n, matrix, /*dx=*/out);
  b.LinearBackwardWeight(/*dy=*/in, /*rows=*/n, /*columns=*/n, /*x=*/in, /*depth=*/n, /*dw=*/y);

  // Attention. `raw` is the product, kept apart for the backward pass where there is a norm, else qkv itself.
  b.FinishQkv(shape, qkv, paged, /*raw=*/out, /*qkv=*/out, /*qk_inverse_rms=*/y);
  b.FinishQkv(shape, qkv, whole, out, out, y);
  b.ReservePaged(shape, /*rows=*/n, /*decode_rows=*/n, /*table_pages=*/n, attention);
  { b.Attend(shape, paged, in, attention) } -> std::same_as<typename B::ConstRows>;
  { b.Attend(shape, whole, in, attention) } -> std::same_as<typename B::ConstRows>;
  { b.Output(attention) } -> std::same_as<typename B::ConstRows>;  // what Attend gave
  b.AttendBackward(shape, whole, in, attention, /*dout=*/in, /*dqkv=*/out);
  b.Release(attention);  // the backward pass is through: what B would make anew goes
  b.FinishQkvBackward(shape, qkv, whole, /*raw=*/in, /*qk_inverse_rms=*/x, /*dqkv=*/out, qkv_gradients);
  b.SwiGlu(/*gate_up=*/in, /*rows=*/n, /*inner=*/n, out);
  b.SwiGluBackward(/*gate_up=*/in, /*dout=*/in, n, n, /*dgate_up=*/out, /*activated=*/out);

  // Chosen rows of the stream, and the head. LogProbBackward gives d loss / d logits, which may lie where logits
  // lay; dentropies may be null, for 0, and else the temperature is 1.
  b.GatherRows(x, index, /*count=*/n, /*width=*/n, y);
  b.ScatterRows(x, index, n, n, y);
  { b.StatsIn(buffer, n) } -> std::same_as<TokenLogProb*>;
  b.LogProbRows(/*logits=*/x, /*rows=*/n, /*vocab=*/n, /*targets=*/index, temperature, b.StatsIn(buffer, n));
  { b.ToHost(stats, n) } -> std::same_as<std::span<const TokenLogProb>>;  // waits; good until the next call
  {
    b.LogProbBackward(/*logits=*/y, n, n, index, stats, /*dlogprobs=*/x, /*dentropies=*/x, temperature, buffer)
    } -> std::same_as<typename B::ConstRows>;
  b.EmbedBackward(whole, /*dx=*/x, /*width=*/n, /*dtable=*/y);
};

}  // namespace tactus::ops
