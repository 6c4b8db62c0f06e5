// Training's attention by kernels of our own. Internal to common/ops/cuda: see training_attention_cuda.h.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>

#include "common/ops/attention_types.h"

namespace tactus::ops::cuda {

struct DenseAttentionArgs {
  AttentionShape shape;
  at::ScalarType type = at::ScalarType::Float;
  int64_t rows = 0;                    // T
  const int32_t* row_begin = nullptr;  // [T], as of PackedSequences
  const int32_t* shared = nullptr;     // [T]
  const int32_t* head_row = nullptr;   // [T]
  const int32_t* seen_end = nullptr;   // [T]
  const void* qkv = nullptr;           // T [T, (Hq + 2 Hk) D]
  void* out = nullptr;                 // T [T, Hq D]
  float* log_sum_exp = nullptr;        // [T, Hq] of scaled scores, nats
  // Backward only:
  const void* dout = nullptr;  // T [T, Hq D]
  float* delta = nullptr;      // [T, Hq] scratch
  void* dqkv = nullptr;        // T [T, (Hq + 2 Hk) D]
};
void DenseAttention(const DenseAttentionArgs& args);
void DenseAttentionBackward(const DenseAttentionArgs& args);

}  // namespace tactus::ops::cuda
