// The decoder's ops on a GPU: see ops/backend.h. T is the weights' storage type: float32, bfloat16 or half.
//
// Kernels are the ones of this folder. Own kernels give a row the same bits whatever stands beside it; cuBLAS promises
// that only for one number of rows, and FlashAttention, which takes rows of many tokens where it is wanted and there,
// rounds differently from decode attention. A stream's product stays pending until the next norm's kernel adds it.
//
// Calls enqueue on the current queue and return, but for ToHost and Keep, which wait. Paged steps without runs can be
// recorded in a device::Graph once Buffers have reached their size. Pointers are device memory that stays until the
// queue has run the call. Throws what the device library throws.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "common/base/dtype.h"
#include "common/ops/backend.h"
#include "common/ops/cuda/attention_cuda.h"
#include "common/ops/cuda/kv_cache_cuda.h"
#include "common/ops/cuda/training_attention_cuda.h"

namespace tactus::ops {

at::ScalarType TorchTypeOf(StorageDType dtype);

class CudaBackend {
 public:
  using Rows = void*;
  using ConstRows = const void*;
  using Buffer = at::Tensor;  // bytes; undefined at first
  using KvCache = KvCacheCuda;

  struct Matrix {
    const void* data = nullptr;  // T [columns, depth]
    int64_t columns = 0;
    int64_t depth = 0;
  };

  struct Attention {
    Buffer out;                   // of a paged batch: T [R, Hq D]
    cuda::AttentionResult whole;  // of whole sequences
    bool paged = false;
  };

  class Upload : public HostArrays {
   public:
    template <typename T>
    const T* At(int64_t place) const {
      return reinterpret_cast<const T*>(static_cast<const std::byte*>(device_.const_data_ptr()) + place);
    }

   private:
    friend class CudaBackend;
    at::Tensor pinned_;
    Buffer device_;
  };

  // Consecutive rows of one sequence, as the host knows them.
  struct Run {
    int64_t num_rows = 0;
    int64_t start_position = 0;
  };

  // A step's rows [R]: decode rows [0, B) first, then the runs' rows in their order. int32 on the device.
  struct PagedBatch {
    int64_t num_rows = 0;                // R
    int64_t decode_rows = 0;             // B
    const int32_t* token_ids = nullptr;  // [R]
    RotaryRows rotary = {};
    const int32_t* slots = nullptr;        // [R] page * 16 + place; -1: the row is not stored
    const int32_t* contexts = nullptr;     // [R] keys the row sees, its own among them
    const int32_t* table_index = nullptr;  // [R] the row's page table; of decode row r table r
    const int32_t* page_tables = nullptr;  // [B + runs, table_pages]
    int64_t table_pages = 0;
    // Of the runs; starts are [runs + 1] sums of num_rows and of start_position + num_rows.
    std::span<const Run> runs = {};
    const int32_t* starts_q = nullptr;
    const int32_t* starts_k = nullptr;
    // Measured decode rows: layers that `probe` names, results where `tap` says. null: nothing is measured.
    const AttentionProbe* probe = nullptr;
    cuda::DecodeTap tap = {};

    int64_t rows() const { return num_rows; }
    const int32_t* tokens() const { return token_ids; }
    void AtLayer(const KvCacheCuda::Pages& layer_pages, int64_t first_head) {
      pages = layer_pages;
      measured = first_head >= 0;
      tap.first_head = first_head;
    }

    KvCacheCuda::Pages pages = {};
    bool measured = false;
  };

  class SequenceBatch {
   public:
    void Add(std::span<const int32_t> tokens, const PackedLayout& layout, Upload& upload);
    void Bind(const Upload& upload);

    int64_t rows() const { return sequences.rows; }
    const int32_t* tokens() const { return token_ids; }

    const int32_t* token_ids = nullptr;
    RotaryRows rotary;
    cuda::PackedSequences sequences;
    // Which rows read each token: see cuda::EmbedBackward.
    int64_t num_distinct = 0;
    const int32_t *distinct = nullptr, *distinct_starts = nullptr, *rows_by_token = nullptr;

   private:
    std::vector<cuda::FlashPartPlaces> parts_;
    int64_t tokens_at_ = 0, positions_at_ = 0, begin_at_ = 0, shared_at_ = 0, head_at_ = 0, seen_end_at_ = 0;
    int64_t starts_at_ = 0, k_starts_at_ = 0, k_rows_at_ = 0, distinct_at_ = 0, distinct_starts_at_ = 0, rows_at_ = 0;
  };

  CudaBackend(StorageDType dtype, int gpu, bool flash = true);  // flash: FlashAttention, where the type has it
  bool narrow() const { return type_ != at::kFloat; }
  Rows RowsIn(Buffer& buffer, int64_t count) { return BytesIn(buffer, count * width()); }
  float* FloatsIn(Buffer& buffer, int64_t count) { return In<float>(buffer, count); }
  TokenLogProb* StatsIn(Buffer& buffer, int64_t count) { return In<TokenLogProb>(buffer, count); }
  Rows At(Rows rows, int64_t count) { return static_cast<std::byte*>(rows) + count * width(); }
  ConstRows At(ConstRows rows, int64_t count) { return static_cast<const std::byte*>(rows) + count * width(); }
  const float* Keep(std::span<const float> values, Buffer& buffer);
  void Copy(const float* from, int64_t count, float* to);
  void Zero(float* values, int64_t count);
  // What the queue still has to do with the upload before may not include its copy to the device.
  void Send(Upload& upload);
  std::span<const TokenLogProb> ToHost(const TokenLogProb* stats, int64_t count);
  int64_t memory_moves() const { return memory_moves_; }

  void Embed(const int32_t* tokens, int64_t rows, const void* table, int64_t width, float* x);
  void EmbedBackward(const SequenceBatch& batch, const float* dx, int64_t width, float* dtable);

  void Settle(Stream<CudaBackend>& x, int64_t rows, int64_t width);
  void Norm(Stream<CudaBackend>& x, const NormShape& norm, void* out, float* inverse_rms);
  void Add(Stream<CudaBackend>& x, const void* in, int64_t rows, int64_t width);
  void AddLinear(Stream<CudaBackend>& x, const void* in, int64_t rows, const Matrix& w, Buffer& product);
  const void* AsRows(const float* x, int64_t count, Buffer& buffer);
  const float* AsFloats(const void* rows, int64_t count, int64_t width, Buffer& buffer);
  void NormRows(const float* x, const NormShape& norm, void* out, float* inverse_rms);
  void NormBackward(const float* x, const NormShape& norm, const float* inverse_rms, const void* dy, float* dx,
                    bool accumulate, float* dweight);
  void AddTo(float* y, const void* x, int64_t rows, int64_t width);

  void Linear(const void* x, int64_t rows, const Matrix& w, void* y);
  void LinearToFloats(const void* x, int64_t rows, const Matrix& w, float* y);
  void LinearBackwardInput(const void* dy, int64_t rows, const Matrix& w, void* dx);
  void LinearBackwardWeight(const void* dy, int64_t rows, int64_t columns, const void* x, int64_t depth, float* dw);

  void FinishQkv(const AttentionShape& shape, const QkvWeights<CudaBackend>& w, const PagedBatch& batch,
                 const void* raw, void* qkv, float* qk_inverse_rms);
  void FinishQkv(const AttentionShape& shape, const QkvWeights<CudaBackend>& w, const SequenceBatch& batch,
                 const void* raw, void* qkv, float* qk_inverse_rms);
  void FinishQkvBackward(const AttentionShape& shape, const QkvWeights<CudaBackend>& w, const SequenceBatch& batch,
                         const void* raw, const float* qk_inverse_rms, void* dqkv, const QkvGradients& gradients);
  void ReservePaged(const AttentionShape& shape, int64_t rows, int64_t decode_rows, int64_t table_pages,
                    Attention& attention);
  const void* Attend(const AttentionShape& shape, const PagedBatch& batch, const void* qkv, Attention& attention);
  const void* Attend(const AttentionShape& shape, const SequenceBatch& batch, const void* qkv, Attention& attention);
  const void* Output(Attention& attention);
  void AttendBackward(const AttentionShape& shape, const SequenceBatch& batch, const void* qkv, Attention& attention,
                      const void* dout, void* dqkv);
  void Release(Attention& attention) { attention.whole = {}; }
  void SwiGlu(const void* gate_up, int64_t rows, int64_t inner, void* out);
  void SwiGluBackward(const void* gate_up, const void* dout, int64_t rows, int64_t inner, void* dgate_up,
                      void* activated);
  void GatherRows(const float* x, const int32_t* rows, int64_t count, int64_t width, float* out);
  void ScatterRows(const float* x, const int32_t* rows, int64_t count, int64_t width, float* out);
  void LogProbRows(const float* logits, int64_t rows, int64_t vocab, const int32_t* targets, float temperature,
                   TokenLogProb* out);
  const void* LogProbBackward(float* logits, int64_t rows, int64_t vocab, const int32_t* targets,
                              const TokenLogProb* stats, const float* dlogprobs, const float* dentropies,
                              float temperature, Buffer& buffer);

 private:
  int64_t width() const { return static_cast<int64_t>(c10::elementSize(type_)); }
  void* BytesIn(Buffer& buffer, int64_t bytes);
  template <typename T>
  T* In(Buffer& buffer, int64_t count) {
    return static_cast<T*>(BytesIn(buffer, count * static_cast<int64_t>(sizeof(T))));
  }
  at::Tensor View(const void* rows, at::IntArrayRef sizes) const;
  void AttendRows(const AttentionShape& shape, const PagedBatch& batch, const void* qkv, void* out, int64_t first,
                  int64_t count, const cuda::DecodeTap* tap);
  void AttendRunsByFlash(const AttentionShape& shape, const PagedBatch& batch, const void* qkv, void* out);

  const at::ScalarType type_;  // T
  const int gpu_;
  const bool flash_;
  int64_t memory_moves_ = 0;
  Buffer workspace_, paged_workspace_;  // of the gradients' sums; of decode attention
  at::Tensor pinned_stats_;
};
static_assert(Backend<CudaBackend>);

}  // namespace tactus::ops
