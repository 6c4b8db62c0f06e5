// The decoder's forward pass on a GPU, for the actor: rows of a step against a paged cache, and the logits of chosen
// rows.
//
// Per layer: AddRmsNorm, the qkv product, FinishQkv into the pages, attention, the out product, AddRmsNorm, the gate
// and up product, SwiGlu, the down product. The residual stream is float32, everything else T, the weights' storage
// type. DecoderLm computes the same on the CPU; the two agree up to rounding, not bit for bit.
//
// Rows of runs (prefill) go through FlashAttention where ops::cuda::HasFlashAttention says so, else through the same
// kernel as decode rows. Own kernels give a row the same bits whatever stands beside it; cuBLAS promises that only for
// one number of rows.
//
// Owned by one thread. Everything enqueues on the current queue and returns; pointers are device memory that stays
// until the queue has run the call. Throws what the device library throws.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

#include "common/model/device_cache_cuda.h"
#include "common/model/device_weights_cuda.h"
#include "common/ops/cuda/attention_cuda.h"

namespace tactus {

// Consecutive rows of one sequence, as the host knows them.
struct DeviceRunShape {
  int64_t num_rows = 0;
  int64_t start_position = 0;
};

// A step's rows [R]: decode rows [0, B) first, then the runs' rows in their order. int32 on the device.
struct DeviceRows {
  int64_t rows = 0;                 // R
  int64_t decode_rows = 0;          // B
  const int32_t* tokens = nullptr;  // [R]
  const int32_t* positions = nullptr;
  const int32_t* slots = nullptr;        // [R] page * 16 + place; -1: the row is not stored
  const int32_t* contexts = nullptr;     // [R] keys the row sees, its own among them
  const int32_t* table_index = nullptr;  // [R] the row's page table; of decode row r table r
  const int32_t* page_tables = nullptr;  // [B + runs, table_pages]
  int64_t table_pages = 0;
  // Of the runs; starts are [runs + 1] sums of num_rows and of start_position + num_rows.
  std::span<const DeviceRunShape> runs;
  const int32_t* starts_q = nullptr;
  const int32_t* starts_k = nullptr;
  // Measured decode rows: layers that `probe` names, results where `tap` says. null: nothing is measured.
  const ops::AttentionProbe* probe = nullptr;
  const ops::cuda::DecodeTap* tap = nullptr;  // first_head is set here
};

// The largest step there is room for.
struct DecoderRoom {
  int64_t rows = 0;         // R
  int64_t decode_rows = 0;  // B
  int64_t table_pages = 0;
  int64_t logit_rows = 0;  // chosen at once
};

class DecoderCuda {
 public:
  // `weights` must outlive the decoder and be in use before the first Forward.
  DecoderCuda(const ModelConfig& config, const DeviceWeights* weights, int64_t num_pages, int gpu);

  // True: memory moved, so graphs recorded before are of no use. Blocks when memory is allocated.
  bool Reserve(const DecoderRoom& room);

  // Writes keys and values to the cache's pages; hidden() then has the final normed states.
  void Forward(const DeviceRows& rows);

  // logits() [count, V] float32 of rows `rows` [count] of hidden(), or of the first `count` where it is null.
  void Logits(const int32_t* rows, int64_t count);
  float* logits() const { return logits_.data_ptr<float>(); }

  DeviceCache& cache() { return cache_; }
  const DeviceCache& cache() const { return cache_; }
  const ModelConfig& config() const { return config_; }

 private:
  void Layer(const DeviceLayer& layer, int64_t index, const DeviceRows& rows, const void* delta,
             const ops::cuda::DecodeTap* tap);
  void Attend(int64_t layer, const DeviceRows& rows, const ops::cuda::DecodeTap* tap);
  void AttendRows(int64_t layer, const DeviceRows& rows, int64_t first, int64_t count, const ops::cuda::DecodeTap* tap);
  void AttendRunsByFlash(int64_t layer, const DeviceRows& rows);
  void Normalize(const float* weight, const void* delta, int64_t rows);
  void UploadRope();
  at::Tensor Buffer(int64_t elements, at::ScalarType type) const;

  const ModelConfig config_;
  const DeviceWeights* const weights_;
  const int gpu_;
  const at::ScalarType type_;  // T
  DeviceCache cache_;
  at::Tensor cosines_, sines_;                                         // float32 [max_position, D/2]
  int64_t rows_ = 0, logit_rows_ = 0, workspace_bytes_ = 0;            // that there is room for
  at::Tensor x_;                                                       // float32 [R, H], the residual stream
  at::Tensor normed_, qkv_, attention_, gate_up_, activated_, delta_;  // T
  at::Tensor workspace_;
  at::Tensor chosen_;  // T [C, H]
  at::Tensor logits_;  // float32 [C, V]
};

}  // namespace tactus
