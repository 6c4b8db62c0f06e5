// The decoder's ops on the CPU: see ops/backend.h. Activations are float32; weights and pages are float32 or bfloat16.
//
// Every op's result for a row has the same bits however rows are batched, packed or cut, and on any number of threads
// (docs/adr/0002). Ops block, and use the process's intra-op threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "common/base/dtype.h"
#include "common/ops/backend.h"
#include "common/ops/cpu/attention.h"
#include "common/ops/cpu/buffer.h"
#include "common/ops/cpu/gemm.h"
#include "common/ops/cpu/kv_cache_cpu.h"
#include "common/ops/cpu/sampling.h"

namespace tactus::ops {

class CpuBackend {
 public:
  using Rows = float*;
  using ConstRows = const float*;
  using Buffer = ops::Buffer<std::byte>;
  using KvCache = KvCacheCpu;

  // Laid out once for each direction; `backward` is empty where no backward pass ever runs.
  struct Matrix {
    PackedMatrix forward;   // [depth, columns]
    PackedMatrix backward;  // [columns, depth]
  };

  struct Attention {
    Buffer out;          // [R, Hq D]
    Buffer log_sum_exp;  // [R, Hq], of whole sequences
  };

  class Upload : public HostArrays {
   public:
    template <typename T>
    const T* At(int64_t place) const {
      return reinterpret_cast<const T*>(bytes().data() + place);
    }
  };

  struct PagedBatch {
    int64_t num_rows = 0;
    const int32_t* token_ids = nullptr;  // [R]
    RotaryRows rotary;
    std::span<const SequenceRun> runs = {};
    const AttentionProbe* probe = nullptr;    // null: nothing is measured
    std::span<const AttentionTap> taps = {};  // one per run

    int64_t rows() const { return num_rows; }
    const int32_t* tokens() const { return token_ids; }
    void AtLayer(const PagedKeysValues& layer_pages, int64_t first_head) {
      pages = layer_pages;
      layer_taps = {.probe = probe, .taps = taps, .first_head = first_head};
      measured = first_head >= 0;
    }

    PagedKeysValues pages = {};
    LayerTaps layer_taps = {};
    bool measured = false;
  };

  class SequenceBatch {
   public:
    void Add(std::span<const int32_t> tokens, const PackedLayout& layout, Upload& upload);
    void Bind(const Upload& upload);

    int64_t rows() const { return num_rows; }
    const int32_t* tokens() const { return token_ids; }

    RotaryRows rotary;
    const int32_t* token_ids = nullptr;
    int64_t num_rows = 0;
    std::vector<PackedSequence> sequences;     // [n]
    std::vector<std::vector<int32_t>> tables;  // [n] pages of each sequence, full ones of shared tokens its family's
    std::vector<SequenceRun> runs;             // [n] its rows
    std::vector<SequenceRun> writes;           // the rows that go to pages: all, and shared ones a second time
    int64_t pages = 0;

   private:
    int64_t tokens_at_ = 0, positions_at_ = 0;
  };

  explicit CpuBackend(StorageDType dtype);

  bool narrow() const { return false; }
  Rows RowsIn(Buffer& buffer, int64_t count) { return FloatsIn(buffer, count); }
  float* FloatsIn(Buffer& buffer, int64_t count) { return In<float>(buffer, count); }
  TokenLogProb* StatsIn(Buffer& buffer, int64_t count) { return In<TokenLogProb>(buffer, count); }
  Rows At(Rows rows, int64_t count) { return rows + count; }
  ConstRows At(ConstRows rows, int64_t count) { return rows + count; }
  const float* Keep(std::span<const float> values, Buffer&) { return values.data(); }
  void Copy(const float* from, int64_t count, float* to);
  void Zero(float* values, int64_t count);
  void Send(Upload&) {}
  std::span<const TokenLogProb> ToHost(const TokenLogProb* stats, int64_t count) {
    return {stats, static_cast<size_t>(count)};
  }
  int64_t memory_moves() const { return memory_moves_; }

  // The table holds float32 masters [V, H], rounded to the storage type where they are read.
  void Embed(const int32_t* tokens, int64_t rows, const float* table, int64_t width, float* x);
  void EmbedBackward(const SequenceBatch& batch, const float* dx, int64_t width, float* dtable);

  // Nothing is ever pending here.
  void Settle(Stream<CpuBackend>&, int64_t, int64_t) {}
  void Norm(Stream<CpuBackend>& x, const NormShape& norm, float* out, float* inverse_rms) {
    NormRows(x.x, norm, out, inverse_rms);
  }
  void Add(Stream<CpuBackend>& x, const float* in, int64_t rows, int64_t width) { AddTo(x.x, in, rows, width); }
  void AddLinear(Stream<CpuBackend>& x, const float* in, int64_t rows, const Matrix& w, Buffer&);
  const float* AsRows(const float* x, int64_t, Buffer&) { return x; }
  const float* AsFloats(const float* x, int64_t, int64_t, Buffer&) { return x; }
  void NormRows(const float* x, const NormShape& norm, float* out, float* inverse_rms);
  void NormBackward(const float* x, const NormShape& norm, const float* inverse_rms, const float* dy, float* dx,
                    bool accumulate, float* dweight);
  void AddTo(float* y, const float* x, int64_t rows, int64_t width);

  void Linear(const float* x, int64_t rows, const Matrix& w, float* y);
  void LinearToFloats(const float* x, int64_t rows, const Matrix& w, float* y) { Linear(x, rows, w, y); }
  void LinearBackwardInput(const float* dy, int64_t rows, const Matrix& w, float* dx);
  void LinearBackwardWeight(const float* dy, int64_t rows, int64_t columns, const float* x, int64_t depth, float* dw);

  template <typename Batch>
  void FinishQkv(const AttentionShape& shape, const QkvWeights<CpuBackend>& w, const Batch& batch, float* raw,
                 float* qkv, float* qk_inverse_rms) {
    FinishQkvRows(shape, w, batch.rotary, batch.rows(), raw, qkv, qk_inverse_rms);
  }
  void FinishQkvBackward(const AttentionShape& shape, const QkvWeights<CpuBackend>& w, const SequenceBatch& batch,
                         const float* raw, const float* qk_inverse_rms, float* dqkv, const QkvGradients& gradients);
  void ReservePaged(const AttentionShape& shape, int64_t rows, int64_t, int64_t, Attention& attention) {
    FloatsIn(attention.out, rows * shape.num_heads * shape.head_dim);
  }
  const float* Attend(const AttentionShape& shape, const PagedBatch& batch, const float* qkv, Attention& attention);
  const float* Attend(const AttentionShape& shape, const SequenceBatch& batch, const float* qkv, Attention& attention);
  const float* Output(Attention& attention) { return reinterpret_cast<const float*>(attention.out.data()); }
  void AttendBackward(const AttentionShape& shape, const SequenceBatch& batch, const float* qkv, Attention& attention,
                      const float* dout, float* dqkv);
  void Release(Attention&) {}
  void SwiGlu(const float* gate_up, int64_t rows, int64_t inner, float* out);
  void SwiGluBackward(const float* gate_up, const float* dout, int64_t rows, int64_t inner, float* dgate_up,
                      float* activated);

  void GatherRows(const float* x, const int32_t* rows, int64_t count, int64_t width, float* out);
  void ScatterRows(const float* x, const int32_t* rows, int64_t count, int64_t width, float* out);
  void LogProbRows(const float* logits, int64_t rows, int64_t vocab, const int32_t* targets, float temperature,
                   TokenLogProb* out);
  // In place.
  const float* LogProbBackward(float* logits, int64_t rows, int64_t vocab, const int32_t* targets,
                               const TokenLogProb* stats, const float* dlogprobs, const float* dentropies,
                               float temperature, Buffer&);

 private:
  template <typename T>
  T* In(Buffer& buffer, int64_t count) {
    const int64_t bytes = count * static_cast<int64_t>(sizeof(T));
    memory_moves_ += bytes > buffer.size() ? 1 : 0;
    buffer.Reserve(bytes);
    return reinterpret_cast<T*>(buffer.data());
  }
  void FinishQkvRows(const AttentionShape& shape, const QkvWeights<CpuBackend>& w, const RotaryRows& rotary,
                     int64_t rows, float* raw, float* qkv, float* qk_inverse_rms);
  void QkNormBackward(const AttentionShape& shape, const QkvWeights<CpuBackend>& w, int64_t rows, const float* raw,
                      const float* qk_inverse_rms, float* dqkv, const QkvGradients& gradients);

  const StorageDType dtype_;
  int64_t memory_moves_ = 0;
  PackedMatrix right_;    // the inputs of a linear layer, packed for its weight's gradient, in the weights' type
  Buffer partial_;        // sums over blocks of rows
  Buffer keys_, values_;  // one layer's pages of whole sequences, reused by every layer; zero-filled
};
static_assert(Backend<CpuBackend>);

}  // namespace tactus::ops
