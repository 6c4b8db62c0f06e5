// Row-wise ops of a decoder layer on a GPU: embedding, norms, what follows the qkv product, SwiGLU.
//
// Shapes: R rows, H hidden, I intermediate, Hq/Hk heads, D head size (even). T is the storage type of weights,
// activations and pages: float32, bfloat16 or half; any other throws std::invalid_argument. Arrays are dense, row-major
// and in device memory that stays until the queue has run the call; rows of T and their starts are multiples of 16
// bytes. Everything is computed in float32 and rounded to T once, where it is stored.
//
// Every call enqueues on the current queue and neither blocks nor allocates, so it can be recorded in a device::Graph;
// R = 0 is no work. A row's result depends on that row alone, bit for bit. One thread per queue.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>

namespace tactus::ops::cuda {

// x float32 [R, H] = the rows of table T [V, H] that tokens int32 [R], in [0, V), name.
void EmbedRows(const int32_t* tokens, int64_t rows, const void* table, int64_t hidden, at::ScalarType type, float* x);

// The residual stream takes what a block adds, and is normalised for the next one.
struct AddRmsNormArgs {
  int64_t rows = 0;                             // R
  int64_t hidden = 0;                           // H, a multiple of 4
  at::ScalarType type = at::ScalarType::Float;  // T
  float* x = nullptr;                           // [R, H], changed in place where there is a delta
  const void* delta = nullptr;                  // T [R, H] or null: x += delta first
  const float* weight = nullptr;                // [H], or null: nothing is normalised, x += delta is all
  float eps = 0;
  void* out = nullptr;           // T [R, H] = x / sqrt(mean(x^2) + eps) * weight
  float* inverse_rms = nullptr;  // [R] = 1 / sqrt(mean(x^2) + eps), or null
};
void AddRmsNorm(const AddRmsNormArgs& args);

// Bias, q/k norm and rotary embedding, in this order, of rows that the qkv product made; keys and values go on to their
// pages. A row holds Hq query heads, Hk key heads, Hk value heads.
struct FinishQkvArgs {
  int64_t rows = 0;
  int64_t num_heads = 0, num_kv_heads = 0, head_dim = 0;  // Hq, Hk, D: even, at most 256
  at::ScalarType type = at::ScalarType::Float;            // T
  const void* raw = nullptr;                              // T [R, (Hq + 2 Hk) D]
  const void* bias = nullptr;                             // T [(Hq + 2 Hk) D] or null
  const float* q_norm = nullptr;                          // [D] or null, as k_norm
  const float* k_norm = nullptr;
  bool whole_width = false;  // q_norm is [Hq D], k_norm [Hk D]: one norm over all queries, one over all keys
  float eps = 0;
  const float* cosines = nullptr;      // [positions, D / 2]
  const float* sines = nullptr;        // [positions, D / 2]
  const int32_t* positions = nullptr;  // [R], each below the tables' number of positions
  void* out = nullptr;                 // T, as raw; may be raw itself
  const int32_t* slots = nullptr;      // [R] page * 16 + offset in it, -1: the row is not stored; null: none is
  void* keys = nullptr;                // T [pages, Hk, 16, D], one layer's
  void* values = nullptr;              // T [pages, Hk, 16, D]
  float* inverse_rms = nullptr;        // [R, Hq + Hk] of the q/k norm, or null; with whole_width [R, 2], never null
};
void FinishQkv(const FinishQkvArgs& args);

// out T [R, I] = gate * sigmoid(gate) * up; gate_up T [R, 2 I] holds a row's gate, then its up.
void SwiGlu(const void* gate_up, int64_t rows, int64_t inner, at::ScalarType type, void* out);

}  // namespace tactus::ops::cuda
