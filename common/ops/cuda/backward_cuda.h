// Gradients of a decoder's row-wise ops on a GPU: norms, what follows the qkv product, SwiGLU, embedding, log-probs.
//
// Shapes: R rows, H hidden, I intermediate, Hq/Hk heads, D head size, V vocabulary. T is the storage type of weights
// and activations: float32, bfloat16 or half; any other throws std::invalid_argument. Arrays are dense, row-major and
// in device memory that stays until the queue has run the call. Everything is computed in float32 and rounded to T
// once, where it is stored; gradients of parameters are float32 and are added to.
//
// Sums over rows have a fixed order: blocks of kGradientBlockRows rows, then the blocks one after the other. So the
// same inputs give the same bits in every run. Every call enqueues on the current queue and neither blocks nor
// allocates; R = 0 is no work. One thread per queue.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>

#include "common/ops/token_types.h"  // TokenLogProb

namespace tactus::ops::cuda {

inline constexpr int64_t kGradientBlockRows = 64;
// Floats of workspace for sums over `rows` rows of `width` numbers.
constexpr int64_t GradientWorkspaceFloats(int64_t rows, int64_t width) {
  return (rows + kGradientBlockRows - 1) / kGradientBlockRows * width;
}

// Of y = x * inverse_rms * weight.
struct RmsNormBackwardArgs {
  int64_t rows = 0;                             // R
  int64_t hidden = 0;                           // H
  at::ScalarType type = at::ScalarType::Float;  // T
  const float* x = nullptr;                     // [R, H]
  const float* weight = nullptr;                // [H]
  const float* inverse_rms = nullptr;           // [R]
  const void* dy = nullptr;                     // T [R, H]
  float* dx = nullptr;                          // [R, H]
  bool accumulate_dx = false;                   // dx += instead of dx =
  float* dweight = nullptr;                     // [H] +=
  float* workspace = nullptr;                   // GradientWorkspaceFloats(R, H)
};
void RmsNormBackward(const RmsNormBackwardArgs& args);

// Of FinishQkv (rows_cuda.h): back through the rotary embedding, the q/k norm and the bias.
struct FinishQkvBackwardArgs {
  int64_t rows = 0;
  int64_t num_heads = 0, num_kv_heads = 0, head_dim = 0;  // Hq, Hk, D: even, at most 256
  at::ScalarType type = at::ScalarType::Float;            // T
  const float* cosines = nullptr;                         // [positions, D / 2]
  const float* sines = nullptr;                           // [positions, D / 2]
  const int32_t* positions = nullptr;                     // [R]
  void* dqkv = nullptr;  // T [R, (Hq + 2 Hk) D]: from d loss / d out to d loss / d raw, in place
  // With a q/k norm, else null:
  const void* raw = nullptr;           // T [R, (Hq + 2 Hk) D] what FinishQkv read
  const void* bias = nullptr;          // T [(Hq + 2 Hk) D] or null, as FinishQkv's
  const float* q_norm = nullptr;       // [D], or with whole_width [Hq D]
  const float* k_norm = nullptr;       // [D], or with whole_width [Hk D]
  bool whole_width = false;            // as FinishQkv's
  const float* inverse_rms = nullptr;  // [R, Hq + Hk], or with whole_width [R, 2]
  float* dq_norm = nullptr;            // as q_norm, +=
  float* dk_norm = nullptr;            // as k_norm, +=
  float* dbias = nullptr;              // [(Hq + 2 Hk) D] +=, or null: there is no bias
  float* workspace = nullptr;          // FinishQkvBackwardWorkspaceFloats(…)
};
constexpr int64_t FinishQkvBackwardWorkspaceFloats(int64_t rows, int64_t num_heads, int64_t num_kv_heads,
                                                   int64_t head_dim) {
  return GradientWorkspaceFloats(rows, (num_heads + 2 * num_kv_heads) * head_dim);
}
void FinishQkvBackward(const FinishQkvBackwardArgs& args);

// dgate_up T [R, 2 I] from dout T [R, I] and gate_up T [R, 2 I]; activated T [R, I] = SwiGlu's output once more.
void SwiGluBackward(const void* gate_up, const void* dout, int64_t rows, int64_t inner, at::ScalarType type,
                    void* dgate_up, void* activated);

// dtable float32 [V, H] += the rows dx float32 [R, H] of each token, in row order. The U distinct tokens are `tokens`
// [U]; the rows of tokens[u] are rows[starts[u]] … rows[starts[u + 1] - 1], starts [U + 1], int32 all.
void EmbedBackward(const float* dx, const int32_t* tokens, const int32_t* starts, const int32_t* rows, int64_t distinct,
                   int64_t hidden, float* dtable);

// dlogits T [R, V] of log-probs under softmax(logits / temperature): with g = dlogprob / temperature,
// g * ([j = target] - p_j), p the softmax, and of their entropies, at temperature 1: -dentropy * p_j * (log p_j +
// entropy). logits float32 [R, V] as LogProbRows saw them, which gave stats [R]; targets int32
// [R]; dlogprobs [R].
struct LogProbBackwardArgs {
  int64_t rows = 0;
  int64_t vocab = 0;
  at::ScalarType type = at::ScalarType::Float;
  const float* logits = nullptr;
  const int32_t* targets = nullptr;
  const TokenLogProb* stats = nullptr;
  const float* dlogprobs = nullptr;
  const float* dentropies = nullptr;  // [R], or null: 0
  float temperature = 1;
  void* dlogits = nullptr;  // may be logits itself where T is float32
};
void LogProbBackward(const LogProbBackwardArgs& args);

// to T [count] = from float32 [count].
void Round(const float* from, int64_t count, at::ScalarType type, void* to);

// Row i of `to` [count, H] = row index[i] of `from` float32 [·, H].
void GatherRows(const float* from, const int32_t* index, int64_t count, int64_t hidden, float* to);

// Rows index[i] of `to` float32 [·, H] = row i of `from` [count, H]. Each index occurs once.
void ScatterRows(const float* from, const int32_t* index, int64_t count, int64_t hidden, float* to);

}  // namespace tactus::ops::cuda
