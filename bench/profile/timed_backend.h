// The CPU's backend with a clock: the decoder's own passes run on it unchanged, and each op is a part of a Recorder.
#pragma once

#include <cstdint>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "bench/profile/recorder.h"
#include "common/ops/cpu/backend_cpu.h"

namespace tactus {

class TimedBackend : public ops::CpuBackend {
 public:
  // Laid out by DecoderWeightsCpu, which keeps it.
  struct Matrix {
    const CpuBackend::Matrix* laid_out = nullptr;
  };

  TimedBackend(StorageDType dtype, Recorder& recorder)
      : CpuBackend(dtype), element_(BytesPerElement(dtype)), recorder_(recorder) {}

  void Embed(const int32_t* tokens, int64_t rows, const float* table, int64_t width, float* x) {
    TimeRows("embedding", rows, 2 * width, [&] { CpuBackend::Embed(tokens, rows, table, width, x); });
  }
  void EmbedBackward(const SequenceBatch& batch, const float* dx, int64_t width, float* dtable) {
    TimeRows("embedding", batch.rows(), 3 * width, [&] { CpuBackend::EmbedBackward(batch, dx, width, dtable); });
  }
  void Settle(ops::Stream<TimedBackend>&, int64_t, int64_t) {}
  void Norm(ops::Stream<TimedBackend>& x, const ops::NormShape& norm, float* out, float* inverse_rms) {
    NormRows(x.x, norm, out, inverse_rms);
  }
  void NormRows(const float* x, const ops::NormShape& norm, float* out, float* inverse_rms) {
    TimeRows("norms", norm.rows, 2 * norm.width, [&] { CpuBackend::NormRows(x, norm, out, inverse_rms); });
  }
  void NormBackward(const float* x, const ops::NormShape& norm, const float* inverse_rms, const float* dy, float* dx,
                    bool accumulate, float* dweight) {
    TimeRows("norms, backward", norm.rows, 4 * norm.width,
             [&] { CpuBackend::NormBackward(x, norm, inverse_rms, dy, dx, accumulate, dweight); });
  }
  void Add(ops::Stream<TimedBackend>& x, const float* in, int64_t rows, int64_t width) { AddTo(x.x, in, rows, width); }
  void AddTo(float* y, const float* x, int64_t rows, int64_t width) {
    TimeRows("sums", rows, 3 * width, [&] { CpuBackend::AddTo(y, x, rows, width); });
  }
  void Copy(const float* from, int64_t count, float* to) {
    TimeRows("copies", 1, 2 * count, [&] { CpuBackend::Copy(from, count, to); });
  }
  void Zero(float* values, int64_t count) {
    TimeRows("copies", 1, count, [&] { CpuBackend::Zero(values, count); });
  }
  void GatherRows(const float* x, const int32_t* rows, int64_t count, int64_t width, float* out) {
    TimeRows("copies", count, 2 * width, [&] { CpuBackend::GatherRows(x, rows, count, width, out); });
  }
  void ScatterRows(const float* x, const int32_t* rows, int64_t count, int64_t width, float* out) {
    TimeRows("copies", count, 2 * width, [&] { CpuBackend::ScatterRows(x, rows, count, width, out); });
  }

  void AddLinear(ops::Stream<TimedBackend>& x, const float* in, int64_t rows, const Matrix& w, Buffer& product) {
    ops::Stream<CpuBackend> stream{.x = x.x};
    TimeProduct("product", rows, w.laid_out->forward,
                [&] { CpuBackend::AddLinear(stream, in, rows, *w.laid_out, product); });
  }
  void Linear(const float* x, int64_t rows, const Matrix& w, float* y) {
    TimeProduct("product", rows, w.laid_out->forward, [&] { CpuBackend::Linear(x, rows, *w.laid_out, y); });
  }
  void LinearToFloats(const float* x, int64_t rows, const Matrix& w, float* y) { Linear(x, rows, w, y); }
  void LinearBackwardInput(const float* dy, int64_t rows, const Matrix& w, float* dx) {
    TimeProduct("input's gradient", rows, w.laid_out->backward,
                [&] { CpuBackend::LinearBackwardInput(dy, rows, *w.laid_out, dx); });
  }
  // CpuBackend's two calls, timed apart.
  void LinearBackwardWeight(const float* dy, int64_t rows, int64_t columns, const float* x, int64_t depth, float* dw) {
    TimeRows("packing of inputs", rows, 2 * depth, [&] {
      right_.Resize(rows, depth);
      right_.PackRows(x, rows, 0, depth);
    });
    const PartCost cost{.operations = 2.0 * static_cast<double>(rows) * static_cast<double>(columns * depth),
                        .memory_bytes = 8.0 * static_cast<double>(columns * depth)};
    recorder_.Time(absl::StrCat("weight's gradient ", columns, " x ", depth), cost,
                   [&] { ops::GemmTransposedA(dy, columns, columns, right_, dw, depth); });
  }

  template <typename Batch>
  void FinishQkv(const ops::AttentionShape& shape, const ops::QkvWeights<TimedBackend>& w, const Batch& batch,
                 float* raw, float* qkv, float* qk_inverse_rms) {
    TimeRows("rotation", batch.rows(), 2 * QkvColumns(shape),
             [&] { CpuBackend::FinishQkv(shape, Plain(w), batch, raw, qkv, qk_inverse_rms); });
  }
  void FinishQkvBackward(const ops::AttentionShape& shape, const ops::QkvWeights<TimedBackend>& w,
                         const SequenceBatch& batch, const float* raw, const float* qk_inverse_rms, float* dqkv,
                         const ops::QkvGradients& gradients) {
    TimeRows("rotation", batch.rows(), 2 * QkvColumns(shape),
             [&] { CpuBackend::FinishQkvBackward(shape, Plain(w), batch, raw, qk_inverse_rms, dqkv, gradients); });
  }
  // Keys and values of earlier rows come from memory.
  const float* Attend(const ops::AttentionShape& shape, const PagedBatch& batch, const float* qkv,
                      Attention& attention) {
    PartCost cost;
    for (const SequenceRun& run : batch.runs) cost = Sum(cost, Attended(shape, run, element_));
    return recorder_.Time("attention", cost, [&] { return CpuBackend::Attend(shape, batch, qkv, attention); });
  }
  const float* Attend(const ops::AttentionShape& shape, const SequenceBatch& batch, const float* qkv,
                      Attention& attention) {
    return recorder_.Time("attention", AttendedWhole(shape, batch, 1.0),
                          [&] { return CpuBackend::Attend(shape, batch, qkv, attention); });
  }
  // Five products where forward has two.
  void AttendBackward(const ops::AttentionShape& shape, const SequenceBatch& batch, const float* qkv,
                      Attention& attention, const float* dout, float* dqkv) {
    recorder_.Time("attention, backward", AttendedWhole(shape, batch, 2.5),
                   [&] { CpuBackend::AttendBackward(shape, batch, qkv, attention, dout, dqkv); });
  }
  void SwiGlu(const float* gate_up, int64_t rows, int64_t inner, float* out) {
    TimeRows("activation", rows, 3 * inner, [&] { CpuBackend::SwiGlu(gate_up, rows, inner, out); });
  }
  void SwiGluBackward(const float* gate_up, const float* dout, int64_t rows, int64_t inner, float* dgate_up,
                      float* activated) {
    TimeRows("activation, backward", rows, 6 * inner,
             [&] { CpuBackend::SwiGluBackward(gate_up, dout, rows, inner, dgate_up, activated); });
  }
  void LogProbRows(const float* logits, int64_t rows, int64_t vocab, const int32_t* targets, float temperature,
                   ops::TokenLogProb* out) {
    TimeRows("log-probs", rows, vocab,
             [&] { CpuBackend::LogProbRows(logits, rows, vocab, targets, temperature, out); });
  }
  const float* LogProbBackward(float* logits, int64_t rows, int64_t vocab, const int32_t* targets,
                               const ops::TokenLogProb* stats, const float* dlogprobs, const float* dentropies,
                               float temperature, Buffer& buffer) {
    return TimeRows("log-probs, backward", rows, 2 * vocab, [&] {
      return CpuBackend::LogProbBackward(logits, rows, vocab, targets, stats, dlogprobs, dentropies, temperature,
                                         buffer);
    });
  }

 private:
  static int64_t QkvColumns(const ops::AttentionShape& s) { return (s.num_heads + 2 * s.num_kv_heads) * s.head_dim; }
  static PartCost Sum(const PartCost& a, const PartCost& b) {
    return {a.operations + b.operations, a.memory_bytes + b.memory_bytes, a.cache_bytes + b.cache_bytes};
  }
  static ops::QkvWeights<CpuBackend> Plain(const ops::QkvWeights<TimedBackend>& w) {
    return {.bias = w.bias, .q_norm = w.q_norm, .k_norm = w.k_norm, .whole_width = w.whole_width, .eps = w.eps};
  }

  // Elementwise work that touches `floats` of each row.
  template <typename Fn>
  std::invoke_result_t<Fn> TimeRows(const char* name, int64_t rows, int64_t floats, Fn fn) {
    return recorder_.Time(name, {.cache_bytes = 4.0 * static_cast<double>(rows * floats)}, fn);
  }
  template <typename Fn>
  void TimeProduct(const char* name, int64_t rows, const ops::PackedMatrix& b, Fn fn) {
    const PartCost cost{.operations = 2.0 * static_cast<double>(rows) * static_cast<double>(b.columns() * b.depth()),
                        .memory_bytes = static_cast<double>(b.columns() * b.depth() * element_)};
    recorder_.Time(absl::StrCat(name, " ", b.columns(), " x ", b.depth()), cost, fn);
  }
  static PartCost Attended(const ops::AttentionShape& s, const SequenceRun& run, int64_t element) {
    const auto rows = static_cast<double>(run.num_rows), before = static_cast<double>(run.start_position);
    return {.operations = 4.0 * static_cast<double>(s.num_heads * s.head_dim) * rows * (before + (rows + 1) / 2),
            .memory_bytes = 2.0 * before * static_cast<double>(s.num_kv_heads * s.head_dim * element)};
  }
  static PartCost AttendedWhole(const ops::AttentionShape& shape, const SequenceBatch& batch, double times) {
    PartCost cost;
    for (const SequenceRun& run : batch.runs) cost.operations += times * Attended(shape, run, 0).operations;
    return cost;
  }

  const int64_t element_;
  Recorder& recorder_;
  ops::PackedMatrix right_{0, 0, element_ == 4 ? ops::PanelType::kFloat32 : ops::PanelType::kBFloat16};
};
static_assert(ops::Backend<TimedBackend>);

}  // namespace tactus
