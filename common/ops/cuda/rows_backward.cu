#include "common/device/kernel_cuda.h"
#include "common/ops/cuda/backward_cuda.h"
#include "common/ops/cuda/column_sums_cuda.h"
#include "common/ops/cuda/dispatch_cuda.h"

namespace tactus::ops::cuda {
namespace {

constexpr int kThreads = 256;

template <typename T>
__global__ void SwiGluGradient(const T* gate_up, const T* dout, int64_t rows, int64_t inner, T* dgate_up,
                               T* activated) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (at >= rows * inner) return;
  const int64_t row = at / inner, gate_at = row * 2 * inner + at % inner;
  const float gate = static_cast<float>(gate_up[gate_at]), up = static_cast<float>(gate_up[gate_at + inner]);
  const float sigmoid = 1.0f / (1.0f + expf(-gate));
  const float silu = gate * sigmoid, d = static_cast<float>(dout[at]);
  dgate_up[gate_at] = static_cast<T>(d * up * (sigmoid + silu * (1.0f - sigmoid)));
  dgate_up[gate_at + inner] = static_cast<T>(d * silu);
  activated[at] = static_cast<T>(silu * up);
}

// One thread per column of a distinct token: its rows in order.
__global__ void EmbedGradient(const float* dx, const int32_t* tokens, const int32_t* starts, const int32_t* rows,
                              int64_t hidden, float* dtable) {
  const int64_t column = static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x;
  if (column >= hidden) return;
  float* to = dtable + static_cast<int64_t>(tokens[blockIdx.x]) * hidden + column;
  float sum = *to;
  for (int32_t i = starts[blockIdx.x]; i < starts[blockIdx.x + 1]; ++i) sum += dx[rows[i] * hidden + column];
  *to = sum;
}

template <typename T>
__global__ void LogProbGradient(LogProbBackwardArgs args) {
  const int64_t j = static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x;
  if (j >= args.vocab) return;
  const int64_t row = blockIdx.x, at = row * args.vocab + j;
  const float inverse = 1.0f / args.temperature;
  const float g = args.dlogprobs[row] * inverse;
  const float factor = static_cast<float>(-g / args.stats[row].sum);
  const float softmax = factor * expf((args.logits[at] - args.stats[row].max) * inverse);
  float slope = args.targets[row] == j ? softmax + g : softmax;
  if (args.dentropies != nullptr) {
    const TokenLogProb& stats = args.stats[row];
    const float shifted = args.logits[at] - stats.max, log_sum = static_cast<float>(log(stats.sum));
    slope -= args.dentropies[row] * expf(shifted - log_sum) * (shifted - log_sum + stats.entropy);
  }
  static_cast<T*>(args.dlogits)[at] = static_cast<T>(slope);
}

template <typename T>
__global__ void RoundKernel(const float* from, int64_t count, T* to) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) to[i] = static_cast<T>(from[i]);
}

__global__ void ScatterKernel(const float* from, const int32_t* index, int64_t hidden, float* to) {
  const int64_t column = static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x;
  if (column >= hidden) return;
  to[index[blockIdx.x] * hidden + column] = from[static_cast<int64_t>(blockIdx.x) * hidden + column];
}

__global__ void GatherKernel(const float* from, const int32_t* index, int64_t hidden, float* to) {
  const int64_t column = static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x;
  if (column >= hidden) return;
  to[static_cast<int64_t>(blockIdx.x) * hidden + column] = from[index[blockIdx.x] * hidden + column];
}

// A row in x, its columns in y.
dim3 RowGrid(int64_t rows, int64_t columns) { return {static_cast<unsigned>(rows), BlocksFor(columns, kThreads)}; }

}  // namespace

void SwiGluBackward(const void* gate_up, const void* dout, int64_t rows, int64_t inner, at::ScalarType type,
                    void* dgate_up, void* activated) {
  ForStorageType(type, "SwiGluBackward", [=](auto tag) {
    using T = typename decltype(tag)::type;
    device::Launch(SwiGluGradient<T>, dim3(BlocksFor(rows * inner, kThreads)), dim3(kThreads), 0,
                   static_cast<const T*>(gate_up), static_cast<const T*>(dout), rows, inner, static_cast<T*>(dgate_up),
                   static_cast<T*>(activated));
  });
}

void EmbedBackward(const float* dx, const int32_t* tokens, const int32_t* starts, const int32_t* rows, int64_t distinct,
                   int64_t hidden, float* dtable) {
  device::Launch(EmbedGradient, RowGrid(distinct, hidden), dim3(kThreads), 0, dx, tokens, starts, rows, hidden, dtable);
}

void LogProbBackward(const LogProbBackwardArgs& args) {
  ForStorageType(args.type, "LogProbBackward", [&](auto tag) {
    using T = typename decltype(tag)::type;
    device::Launch(LogProbGradient<T>, RowGrid(args.rows, args.vocab), dim3(kThreads), 0, args);
  });
}

void Round(const float* from, int64_t count, at::ScalarType type, void* to) {
  ForStorageType(type, "Round", [=](auto tag) {
    using T = typename decltype(tag)::type;
    device::Launch(RoundKernel<T>, dim3(BlocksFor(count, kThreads)), dim3(kThreads), 0, from, count,
                   static_cast<T*>(to));
  });
}

void ScatterRows(const float* from, const int32_t* index, int64_t count, int64_t hidden, float* to) {
  device::Launch(ScatterKernel, RowGrid(count, hidden), dim3(kThreads), 0, from, index, hidden, to);
}

void GatherRows(const float* from, const int32_t* index, int64_t count, int64_t hidden, float* to) {
  device::Launch(GatherKernel, RowGrid(count, hidden), dim3(kThreads), 0, from, index, hidden, to);
}

}  // namespace tactus::ops::cuda
