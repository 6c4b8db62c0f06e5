// The kernel of DecodeAttention (attention_cuda.h), to be compiled once per storage type.
//
// One block of 4 warps does one split of one row's keys for up to 8 query heads that share a key/value head, so each
// key and value is read from memory once per group: 16 bytes a lane, kLanes lanes a key, kUnroll keys in flight per
// lane. Online softmax, in base 2, per group of kLanes lanes; these groups, then the warps, are merged at the end in a
// fixed order, and what a row with several splits has is left in the workspace for CombineKernel.
//
// Bytes: 2 D sizeof(T) per key and key/value head, plus per split and head D + 4 floats out and in again. Operations:
// 2 D multiply-adds per key and query head, a half per byte of bfloat16 and head of the group. Registers, instructions
// and what they bound: docs/GPU.md.
#pragma once

#include "common/device/kernel_cuda.h"
#include "common/ops/cuda/attention_cuda.h"
#include "common/ops/cuda/vector_cuda.h"

namespace tactus::ops::cuda {

inline constexpr int kDecodeWarps = 4, kDecodeThreads = kDecodeWarps * device::kWarpThreads;
inline constexpr float kNoScore = -1.0e30f;  // below any score, and finite: differences of two are numbers
inline constexpr int kStats = kSplitStats;   // maximum, sum, span, nearness

struct DecodeParams {
  DecodeAttentionArgs args;
  DecodeTap tap;
  int group_tiles = 1;  // blocks that share a key/value head's query heads
  int max_splits = 1;
  float* partials = nullptr;  // [R, Hq, max_splits, kStats + D]
};

// A row's sums against one maximum, scores in base 2.
struct DecodeStats {
  float max, sum, span, nearness;  // nearness: sum of e * max(W - distance, 0)
};

__device__ __forceinline__ float* PartialOf(const DecodeParams& p, int64_t row, int64_t head, int split) {
  const int64_t d = p.args.shape.head_dim;
  return p.partials + ((row * p.args.shape.num_heads + head) * p.max_splits + split) * (kStats + d);
}

__device__ __forceinline__ int ContextOf(const DecodeParams& p, int64_t row) {
  const int64_t context = p.args.context_tokens[row];
  return static_cast<int>(context < p.args.max_context_tokens ? context : p.args.max_context_tokens);
}

// Prompt tokens of a row that is measured, else -1.
__device__ __forceinline__ int PromptOf(const DecodeParams& p, int64_t row) {
  return p.args.tap == nullptr ? -1 : p.tap.prompt_tokens[row];
}

// The key at `distance` of a row with `context` keys is part of its response and within the horizon.
__device__ __forceinline__ bool InHorizon(const DecodeTap& tap, int context, int prompt, int64_t distance) {
  return distance >= tap.horizon_min_tokens && distance <= tap.horizon_max_tokens && context - 1 - distance >= prompt;
}

// Where the probabilities of one head of the row go; null: they are not kept.
__device__ __forceinline__ float* ProbsOf(const DecodeParams& p, int64_t row, int64_t head) {
  const DecodeTap& tap = p.tap;
  const int64_t place = tap.probs == nullptr ? -1 : tap.probs_place[row];
  return place < 0 ? nullptr : tap.probs + (place * tap.num_heads + tap.first_head + head) * tap.probs_tokens;
}

// Writes what is measured of one head. Where the kernel left a score it turns into a probability; the rest becomes 0.
// All threads of the block; a barrier since the scores were written.
__device__ inline void FinishTap(const DecodeParams& p, int64_t row, int64_t head, const DecodeStats& s) {
  const DecodeTap& tap = p.tap;
  const int context = ContextOf(p, row), prompt = PromptOf(p, row);
  const int64_t place = row * tap.num_heads + tap.first_head + head;
  const float inverse = 1.0f / s.sum;
  if (threadIdx.x == 0) {
    tap.span[place] = s.span * inverse;
    // sum_j p_j min(distance, W) = W - sum_j p_j max(W - distance, 0), as the p_j sum to 1.
    tap.waad[place] = static_cast<float>(tap.window_tokens) - s.nearness * inverse;
  }
  float* const fai = tap.fai + place * tap.fai_tokens;
  for (int64_t i = threadIdx.x; i < tap.fai_tokens; i += blockDim.x) {
    const bool held = InHorizon(tap, context, prompt, tap.horizon_min_tokens + i);
    fai[i] = held ? exp2f(fai[i] - s.max) * inverse : 0.0f;
  }
  float* const probs = ProbsOf(p, row, head);
  if (probs == nullptr) return;
  for (int64_t i = threadIdx.x; i < tap.probs_tokens; i += blockDim.x) {
    probs[i] = i < context ? exp2f(probs[i] - s.max) * inverse : 0.0f;
  }
}

// Writes one head's output, `value` of this thread's column, and its log-sum-exp.
template <typename T>
__device__ __forceinline__ void WriteOutput(const DecodeParams& p, int64_t row, int64_t head, int column, float value) {
  const int64_t i = p.args.row_index == nullptr ? row : p.args.row_index[row];
  static_cast<T*>(p.args.out)[i * p.args.out_row + head * p.args.shape.head_dim + column] = static_cast<T>(value);
}
__device__ __forceinline__ void WriteLogSumExp(const DecodeParams& p, int64_t row, int64_t head, const DecodeStats& s) {
  constexpr float kLn2 = 0.693147180559945309f;
  if (p.args.log_sum_exp != nullptr) {
    p.args.log_sum_exp[row * p.args.shape.num_heads + head] = fmaf(s.max, kLn2, logf(s.sum));
  }
}

// Starts the kernel for p.args.type, one overload of T per file. width: 64 or 128, at least D.
template <typename T>
void LaunchDecode(const DecodeParams& params, int width, int group);

}  // namespace tactus::ops::cuda
