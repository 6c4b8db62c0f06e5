#include <cmath>
#include <stdexcept>

#include "common/device/kernel_cuda.h"
#include "common/ops/cuda/dense_attention_cuda.h"
#include "common/ops/cuda/dispatch_cuda.h"
#include "common/ops/cuda/vector_cuda.h"

namespace tactus::ops::cuda {
namespace {

using device::kWarpThreads;
constexpr int kMaxSlices = 4;  // numbers of a head that a lane holds: D / 32, D at most 128

// Views of one row's query head, or key/value head.
template <typename T>
struct View {
  explicit __device__ View(const DenseAttentionArgs& a)
      : args(a),
        d(a.shape.head_dim),
        group(a.shape.num_heads / a.shape.num_kv_heads),
        columns((a.shape.num_heads + 2 * a.shape.num_kv_heads) * d),
        scale(1.0f / sqrtf(static_cast<float>(d))) {}

  __device__ int64_t q_at(int64_t row, int64_t head) const { return row * columns + head * d; }
  __device__ int64_t k_at(int64_t row, int64_t kv) const { return row * columns + (args.shape.num_heads + kv) * d; }
  __device__ int64_t v_at(int64_t row, int64_t kv) const { return k_at(row, kv) + args.shape.num_kv_heads * d; }
  __device__ int64_t out_at(int64_t row, int64_t head) const { return (row * args.shape.num_heads + head) * d; }
  __device__ int64_t stat_at(int64_t row, int64_t head) const { return row * args.shape.num_heads + head; }
  // Keys that a row sees, and the row of the i-th.
  __device__ int64_t keys(int64_t row) const { return args.shared[row] + row - args.row_begin[row] + 1; }
  __device__ int64_t key_row(int64_t row, int64_t i) const {
    const int64_t shared = args.shared[row];
    return i < shared ? args.head_row[row] + i : args.row_begin[row] + i - shared;
  }
  __device__ const T* qkv() const { return static_cast<const T*>(args.qkv); }
  __device__ const T* dout() const { return static_cast<const T*>(args.dout); }

  const DenseAttentionArgs& args;
  const int64_t d, group, columns;
  const float scale;
};

__device__ float WarpMax(float value) {
  for (int offset = kWarpThreads / 2; offset > 0; offset /= 2) {
    value = fmaxf(value, __shfl_xor_sync(device::kFullMask, value, offset));
  }
  return value;
}

template <typename T>
__device__ float Dot(const float* a, const T* b, int64_t d) {
  float sum = 0;
  for (int64_t i = 0; i < d; ++i) sum += a[i] * static_cast<float>(b[i]);
  return sum;
}

// The warp's D numbers at `from`, as float32 in shared memory.
template <typename T>
__device__ void Load(const T* from, int64_t d, float* to) {
  for (int64_t i = threadIdx.x; i < d; i += kWarpThreads) to[i] = static_cast<float>(from[i]);
}

// A warp per (row, head): 32 keys at a time, their scores by lanes, then the output's elements by lanes.
template <typename T>
__global__ void Forward(DenseAttentionArgs args) {
  const View<T> view(args);
  const int64_t row = blockIdx.x, head = blockIdx.y, kv = head / view.group, d = view.d;
  float* q = device::SharedMemory<float>();  // [D]
  float* probs = q + d;                      // [32]
  Load(view.qkv() + view.q_at(row, head), d, q);
  __syncwarp();
  float acc[kMaxSlices] = {}, max = -INFINITY, sum = 0;
  const int64_t seen = view.keys(row);
  for (int64_t first = 0; first < seen; first += kWarpThreads) {
    const int64_t i = first + threadIdx.x;
    const float score = i < seen ? Dot(q, view.qkv() + view.k_at(view.key_row(row, i), kv), d) * view.scale : -INFINITY;
    const float block_max = WarpMax(score);
    const float new_max = fmaxf(max, block_max);
    const float p = expf(score - new_max), correction = expf(max - new_max);
    sum = sum * correction + WarpSum(p);
    max = new_max;
    probs[threadIdx.x] = p;
    __syncwarp();
    const int64_t keys = seen - first < kWarpThreads ? seen - first : kWarpThreads;
    for (int slice = 0; slice < kMaxSlices; ++slice) {
      const int64_t j = slice * kWarpThreads + threadIdx.x;
      if (j >= d) break;
      acc[slice] *= correction;
      for (int64_t k = 0; k < keys; ++k) {
        acc[slice] += probs[k] * static_cast<float>(view.qkv()[view.v_at(view.key_row(row, first + k), kv) + j]);
      }
    }
    __syncwarp();
  }
  for (int i = 0; i < kMaxSlices; ++i) {
    const int64_t j = i * kWarpThreads + threadIdx.x;
    if (j < d) static_cast<T*>(args.out)[view.out_at(row, head) + j] = static_cast<T>(acc[i] / sum);
  }
  if (threadIdx.x == 0) args.log_sum_exp[view.stat_at(row, head)] = max + logf(sum);
}

// A warp per (row, head): dq, and delta = dot(out, dout) for the keys' pass.
template <typename T>
__global__ void QueryGradient(DenseAttentionArgs args) {
  const View<T> view(args);
  const int64_t row = blockIdx.x, head = blockIdx.y, kv = head / view.group, d = view.d;
  float* q = device::SharedMemory<float>();  // [D]
  float* dout = q + d;                       // [D]
  float* dscores = dout + d;                 // [32]
  Load(view.qkv() + view.q_at(row, head), d, q);
  Load(view.dout() + view.out_at(row, head), d, dout);
  __syncwarp();
  float delta = 0;
  for (int64_t i = threadIdx.x; i < d; i += kWarpThreads) {
    delta += dout[i] * static_cast<float>(static_cast<const T*>(args.out)[view.out_at(row, head) + i]);
  }
  delta = WarpSum(delta);
  const float log_sum_exp = args.log_sum_exp[view.stat_at(row, head)];
  if (threadIdx.x == 0) args.delta[view.stat_at(row, head)] = delta;
  float acc[kMaxSlices] = {};
  const int64_t seen = view.keys(row);
  for (int64_t first = 0; first < seen; first += kWarpThreads) {
    const int64_t i = first + threadIdx.x;
    float dscore = 0;
    if (i < seen) {
      const int64_t key = view.key_row(row, i);
      const float p = expf(Dot(q, view.qkv() + view.k_at(key, kv), d) * view.scale - log_sum_exp);
      dscore = p * (Dot(dout, view.qkv() + view.v_at(key, kv), d) - delta) * view.scale;
    }
    dscores[threadIdx.x] = dscore;
    __syncwarp();
    const int64_t keys = seen - first < kWarpThreads ? seen - first : kWarpThreads;
    for (int slice = 0; slice < kMaxSlices; ++slice) {
      const int64_t j = slice * kWarpThreads + threadIdx.x;
      if (j >= d) break;
      for (int64_t k = 0; k < keys; ++k) {
        acc[slice] += dscores[k] * static_cast<float>(view.qkv()[view.k_at(view.key_row(row, first + k), kv) + j]);
      }
    }
    __syncwarp();
  }
  for (int i = 0; i < kMaxSlices; ++i) {
    const int64_t j = i * kWarpThreads + threadIdx.x;
    if (j < d) static_cast<T*>(args.dqkv)[view.q_at(row, head) + j] = static_cast<T>(acc[i]);
  }
}

// A warp per (key row, key/value head): dk and dv over the group's heads, then the rows from the key's own on, those of
// the sequences that share it among them.
template <typename T>
__global__ void KeyValueGradient(DenseAttentionArgs args) {
  const View<T> view(args);
  const int64_t key = blockIdx.x, kv = blockIdx.y, d = view.d, end = args.seen_end[key];
  float* k = device::SharedMemory<float>();  // [D]
  float* v = k + d;                          // [D]
  float* probs = v + d;                      // [32]
  float* dscores = probs + kWarpThreads;     // [32]
  Load(view.qkv() + view.k_at(key, kv), d, k);
  Load(view.qkv() + view.v_at(key, kv), d, v);
  __syncwarp();
  float dk[kMaxSlices] = {}, dv[kMaxSlices] = {};
  for (int64_t head = kv * view.group; head < (kv + 1) * view.group; ++head) {
    for (int64_t first = key; first < end; first += kWarpThreads) {
      const int64_t row = first + threadIdx.x;
      float p = 0, dscore = 0;
      if (row < end) {
        p = expf(Dot(k, view.qkv() + view.q_at(row, head), d) * view.scale - args.log_sum_exp[view.stat_at(row, head)]);
        dscore = p * (Dot(v, view.dout() + view.out_at(row, head), d) - args.delta[view.stat_at(row, head)]);
      }
      probs[threadIdx.x] = p;
      dscores[threadIdx.x] = dscore * view.scale;
      __syncwarp();
      const int64_t rows = end - first < kWarpThreads ? end - first : kWarpThreads;
      for (int i = 0; i < kMaxSlices; ++i) {
        const int64_t j = i * kWarpThreads + threadIdx.x;
        if (j >= d) break;
        for (int64_t r = 0; r < rows; ++r) {
          dk[i] += dscores[r] * static_cast<float>(view.qkv()[view.q_at(first + r, head) + j]);
          dv[i] += probs[r] * static_cast<float>(view.dout()[view.out_at(first + r, head) + j]);
        }
      }
      __syncwarp();
    }
  }
  for (int i = 0; i < kMaxSlices; ++i) {
    const int64_t j = i * kWarpThreads + threadIdx.x;
    if (j >= d) break;
    static_cast<T*>(args.dqkv)[view.k_at(key, kv) + j] = static_cast<T>(dk[i]);
    static_cast<T*>(args.dqkv)[view.v_at(key, kv) + j] = static_cast<T>(dv[i]);
  }
}

void CheckShape(const AttentionShape& shape) {
  if (shape.head_dim % 16 != 0 || shape.head_dim > kMaxSlices * kWarpThreads) {
    throw std::invalid_argument("attention: head_dim is not a multiple of 16 up to 128");
  }
}

size_t SharedBytes(int64_t floats) { return static_cast<size_t>(floats) * sizeof(float); }

}  // namespace

void DenseAttention(const DenseAttentionArgs& args) {
  CheckShape(args.shape);
  const dim3 per_query(static_cast<unsigned>(args.rows), static_cast<unsigned>(args.shape.num_heads));
  ForStorageType(args.type, "attention", [&](auto tag) {
    using T = typename decltype(tag)::type;
    device::Launch(Forward<T>, per_query, dim3(kWarpThreads), SharedBytes(args.shape.head_dim + kWarpThreads), args);
  });
}

void DenseAttentionBackward(const DenseAttentionArgs& args) {
  CheckShape(args.shape);
  const int64_t d = args.shape.head_dim;
  const dim3 per_query(static_cast<unsigned>(args.rows), static_cast<unsigned>(args.shape.num_heads));
  const dim3 per_key(static_cast<unsigned>(args.rows), static_cast<unsigned>(args.shape.num_kv_heads));
  ForStorageType(args.type, "attention", [&](auto tag) {
    using T = typename decltype(tag)::type;
    device::Launch(QueryGradient<T>, per_query, dim3(kWarpThreads), SharedBytes(2 * d + kWarpThreads), args);
    device::Launch(KeyValueGradient<T>, per_key, dim3(kWarpThreads), SharedBytes(2 * d + 2 * kWarpThreads), args);
  });
}

}  // namespace tactus::ops::cuda
