// The optimizer's passes over flat float32 buffers on a GPU. The arithmetic of an element is the CPU's, operation by
// operation (learner/train/adamw.h), so the same inputs give the CPU's bits; the norm is summed in another, fixed
// order.
//
// Pointers are device memory that stays until the queue has run the call. Calls enqueue on the current queue, neither
// block nor allocate. One thread per queue.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>

namespace tactus::ops::cuda {

inline constexpr int64_t kNormBlock = 1 << 15;  // numbers whose squares one block of threads adds up
constexpr int64_t NormBlocks(int64_t count) { return (count + kNormBlock - 1) / kNormBlock; }

// *sum = the sum of squares of values [count], in double; not finite if any value is not. workspace
// [NormBlocks(count)].
void SumOfSquares(const float* values, int64_t count, double* workspace, double* sum);

// Consecutive numbers that one block of threads works on.
struct AdamWSegment {
  int64_t begin = 0;  // in gradients and rounded weights
  int64_t place = 0;  // in masters and moments, which may hold a part of the numbers alone
  int32_t count = 0;
  int32_t decays = 0;  // 1: multiplied by `keep` first
};
inline constexpr int64_t kAdamWSegment = 1 << 12;  // a good size: enough work for a block, enough blocks for a GPU

// The same sum of the numbers in `segments` [count], device memory. workspace [count].
void SumOfSquaresIn(const AdamWSegment* segments, int64_t count, const float* values, double* workspace, double* sum);

struct AdamWUpdateArgs {
  float clip = 1;  // as AdamWCoefficients
  float beta1 = 0, one_minus_beta1 = 0;
  float beta2 = 0, one_minus_beta2 = 0;
  float eps = 0;
  float keep = 1;
  float step_size = 0;
  float inverse_sqrt_correction = 1;
  const AdamWSegment* segments = nullptr;
  int64_t num_segments = 0;
  const float* gradients = nullptr;
  float* parameters = nullptr;  // masters
  float* first = nullptr;       // m
  float* second = nullptr;      // v
  // The new parameters rounded to T, in the gradients' places; null: not wanted.
  void* rounded = nullptr;
  at::ScalarType type = at::ScalarType::Float;
};
void AdamWUpdate(const AdamWUpdateArgs& args);

}  // namespace tactus::ops::cuda
