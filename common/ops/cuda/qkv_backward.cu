#include <stdexcept>

#include "common/device/kernel_cuda.h"
#include "common/ops/cuda/backward_cuda.h"
#include "common/ops/cuda/column_sums_cuda.h"
#include "common/ops/cuda/dispatch_cuda.h"
#include "common/ops/cuda/vector_cuda.h"

namespace tactus::ops::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kMaxPairs = 4;  // of a lane: D / 2 over 32 lanes

// What a lane has of one head: pairs lane, lane + 32, ... of the D / 2; element i of a pair's two is at i * D / 2.
struct HeadSlice {
  float first[kMaxPairs] = {};
  float second[kMaxPairs] = {};
};

// g back through the rotation, and through the norm where there is one; adds to the norm weight's gradient.
template <typename T>
__device__ void BackThroughNorm(const FinishQkvBackwardArgs& args, int64_t row, int64_t head, HeadSlice& g,
                                HeadSlice& dweight) {
  const int64_t d = args.head_dim, half = d / 2, heads = args.num_heads + args.num_kv_heads;
  const int64_t columns = (args.num_heads + 2 * args.num_kv_heads) * d;
  const T* raw = static_cast<const T*>(args.raw) + row * columns + head * d;
  const T* bias = args.bias == nullptr ? nullptr : static_cast<const T*>(args.bias) + head * d;
  const float* weight = head < args.num_heads ? args.q_norm : args.k_norm;
  const float inverse = args.inverse_rms[row * heads + head];
  HeadSlice x;
  float dot = 0;
  for (int i = 0; i < kMaxPairs; ++i) {
    const int64_t j = i * device::kWarpThreads + threadIdx.x % device::kWarpThreads;
    if (j >= half) break;
    x.first[i] = static_cast<float>(raw[j]) + (bias == nullptr ? 0.0f : static_cast<float>(bias[j]));
    x.second[i] = static_cast<float>(raw[j + half]) + (bias == nullptr ? 0.0f : static_cast<float>(bias[j + half]));
    dweight.first[i] += g.first[i] * x.first[i] * inverse;
    dweight.second[i] += g.second[i] * x.second[i] * inverse;
    g.first[i] *= weight[j];
    g.second[i] *= weight[j + half];
    dot += g.first[i] * x.first[i] + g.second[i] * x.second[i];
  }
  const float factor = inverse * inverse * inverse * WarpSum(dot) / static_cast<float>(d);
  for (int i = 0; i < kMaxPairs; ++i) {
    g.first[i] = inverse * g.first[i] - x.first[i] * factor;
    g.second[i] = inverse * g.second[i] - x.second[i] * factor;
  }
}

// One block per kGradientBlockRows rows; a warp takes (row, head) after (row, head). The norm weights' sums of the
// warps are added in their order, to workspace [blocks, 2 D].
template <typename T>
__global__ void RotatedHeads(FinishQkvBackwardArgs args) {
  const int64_t d = args.head_dim, half = d / 2, heads = args.num_heads + args.num_kv_heads;
  const int64_t columns = (args.num_heads + 2 * args.num_kv_heads) * d;
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * kGradientBlockRows;
  const int64_t rows = begin + kGradientBlockRows < args.rows ? kGradientBlockRows : args.rows - begin;
  const int lane = static_cast<int>(threadIdx.x) % device::kWarpThreads;
  const int warp = static_cast<int>(threadIdx.x) / device::kWarpThreads;
  HeadSlice dq_norm, dk_norm;
  for (int64_t item = warp; item < rows * heads; item += kWarps) {
    const int64_t row = begin + item / heads, head = item % heads;
    T* gradient = static_cast<T*>(args.dqkv) + row * columns + head * d;
    const int64_t angles = args.positions[row] * half;
    HeadSlice g;
    for (int i = 0; i < kMaxPairs; ++i) {
      const int64_t j = i * device::kWarpThreads + lane;
      if (j >= half) break;
      const float a = static_cast<float>(gradient[j]), b = static_cast<float>(gradient[j + half]);
      const float c = args.cosines[angles + j], s = args.sines[angles + j];
      g.first[i] = a * c + b * s;
      g.second[i] = b * c - a * s;
    }
    if (args.q_norm != nullptr) BackThroughNorm<T>(args, row, head, g, head < args.num_heads ? dq_norm : dk_norm);
    for (int i = 0; i < kMaxPairs; ++i) {
      const int64_t j = i * device::kWarpThreads + lane;
      if (j >= half) break;
      gradient[j] = static_cast<T>(g.first[i]);
      gradient[j + half] = static_cast<T>(g.second[i]);
    }
  }
  if (args.q_norm == nullptr) return;
  float* sums = device::SharedMemory<float>();  // [warps, 2, D]
  for (int i = 0; i < kMaxPairs; ++i) {
    const int64_t j = i * device::kWarpThreads + lane;
    if (j >= half) break;
    sums[warp * 2 * d + j] = dq_norm.first[i];
    sums[warp * 2 * d + j + half] = dq_norm.second[i];
    sums[warp * 2 * d + d + j] = dk_norm.first[i];
    sums[warp * 2 * d + d + j + half] = dk_norm.second[i];
  }
  __syncthreads();
  for (int64_t j = threadIdx.x; j < 2 * d; j += blockDim.x) {
    float sum = 0;
    for (int w = 0; w < kWarps; ++w) sum += sums[w * 2 * d + j];
    args.workspace[blockIdx.x * 2 * d + j] = sum;
  }
}

// With one norm over all of a row's queries and one over all its keys, these are two parts of its columns. Element
// `column` of a part: the gradient before the rotation; and of a row: what was normed there.
template <typename T>
__device__ float Unrotated(const FinishQkvBackwardArgs& args, const T* gradient, int64_t row, int64_t column) {
  const int64_t d = args.head_dim, half = d / 2, head = column / d, j = column % d, pair = j % half;
  const float a = static_cast<float>(gradient[head * d + pair]),
              b = static_cast<float>(gradient[head * d + pair + half]);
  const float c = args.cosines[args.positions[row] * half + pair], s = args.sines[args.positions[row] * half + pair];
  return j < half ? a * c + b * s : b * c - a * s;
}
template <typename T>
__device__ float Normed(const FinishQkvBackwardArgs& args, int64_t row, int64_t columns, int64_t column) {
  const float raw = static_cast<float>(static_cast<const T*>(args.raw)[row * columns + column]);
  return args.bias == nullptr ? raw : raw + static_cast<float>(static_cast<const T*>(args.bias)[column]);
}

// A column of a block of rows: the sum of dy x inverse. Reads what WholeInputGradient overwrites.
template <typename T>
__global__ void WholeWeightGradient(FinishQkvBackwardArgs args, int64_t first, int64_t width, int part) {
  const int64_t column = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (column >= width) return;
  const int64_t columns = (args.num_heads + 2 * args.num_kv_heads) * args.head_dim;
  const int64_t begin = static_cast<int64_t>(blockIdx.y) * kGradientBlockRows;
  const int64_t end = begin + kGradientBlockRows < args.rows ? begin + kGradientBlockRows : args.rows;
  float sum = 0;
  for (int64_t r = begin; r < end; ++r) {
    const T* gradient = static_cast<const T*>(args.dqkv) + r * columns + first;
    sum += Unrotated(args, gradient, r, column) * Normed<T>(args, r, columns, first + column) *
           args.inverse_rms[r * 2 + part];
  }
  args.workspace[blockIdx.y * width + column] = sum;
}

// One block per row; a thread takes the two elements of a pair that rotates, so it writes only what it alone reads.
template <typename T>
__global__ void WholeInputGradient(FinishQkvBackwardArgs args, const float* weight, int64_t first, int64_t width,
                                   int part) {
  const int64_t columns = (args.num_heads + 2 * args.num_kv_heads) * args.head_dim, row = blockIdx.x;
  const int64_t half = args.head_dim / 2;
  T* gradient = static_cast<T*>(args.dqkv) + row * columns + first;
  float dot = 0;
  for (int64_t j = threadIdx.x; j < width; j += blockDim.x) {
    dot += Unrotated(args, gradient, row, j) * weight[j] * Normed<T>(args, row, columns, first + j);
  }
  dot = BlockSum(dot, device::SharedMemory<float>());
  const float inverse = args.inverse_rms[row * 2 + part];
  const float factor = inverse * inverse * inverse * dot / static_cast<float>(width);
  for (int64_t pair = threadIdx.x; pair < width / 2; pair += blockDim.x) {
    const int64_t low = pair / half * args.head_dim + pair % half, high = low + half;
    const float a = Unrotated(args, gradient, row, low) * weight[low];
    const float b = Unrotated(args, gradient, row, high) * weight[high];
    gradient[low] = static_cast<T>(inverse * a - Normed<T>(args, row, columns, first + low) * factor);
    gradient[high] = static_cast<T>(inverse * b - Normed<T>(args, row, columns, first + high) * factor);
  }
}

template <typename T>
void BackThroughWholeNorm(const FinishQkvBackwardArgs& args, const float* weight, int64_t first, int64_t width,
                          int part, float* dweight) {
  constexpr int kThreads = kWarps * device::kWarpThreads;
  const unsigned blocks = BlocksFor(args.rows, kGradientBlockRows);
  device::Launch(WholeWeightGradient<T>, dim3(BlocksFor(width, kThreads), blocks), dim3(kThreads), 0, args, first,
                 width, part);
  AddBlockSums(args.workspace, blocks, width, width, dweight);
  device::Launch(WholeInputGradient<T>, dim3(static_cast<unsigned>(args.rows)), dim3(kThreads), kWarps * sizeof(float),
                 args, weight, first, width, part);
}

}  // namespace

void FinishQkvBackward(const FinishQkvBackwardArgs& args) {
  if (args.head_dim % 2 != 0 || args.head_dim > 2 * kMaxPairs * device::kWarpThreads) {
    throw std::invalid_argument("FinishQkvBackward: head_dim is not even or above 256");
  }
  if (args.rows == 0) return;
  const int64_t d = args.head_dim, columns = (args.num_heads + 2 * args.num_kv_heads) * d;
  const unsigned blocks = BlocksFor(args.rows, kGradientBlockRows);
  const bool whole = args.q_norm != nullptr && args.whole_width;
  ForStorageType(args.type, "FinishQkvBackward", [&](auto tag) {
    using T = typename decltype(tag)::type;
    if (whole) {
      const int64_t q_columns = args.num_heads * d;
      BackThroughWholeNorm<T>(args, args.q_norm, 0, q_columns, 0, args.dq_norm);
      BackThroughWholeNorm<T>(args, args.k_norm, q_columns, args.num_kv_heads * d, 1, args.dk_norm);
      return;
    }
    const size_t shared = args.q_norm == nullptr ? 0 : static_cast<size_t>(kWarps * 2 * d) * sizeof(float);
    device::Launch(RotatedHeads<T>, dim3(blocks), dim3(kWarps * device::kWarpThreads), shared, args);
  });
  if (args.q_norm != nullptr && !whole) {
    AddBlockSums(args.workspace, blocks, d, 2 * d, args.dq_norm);
    AddBlockSums(args.workspace + d, blocks, d, 2 * d, args.dk_norm);
  }
  if (args.dbias != nullptr) AddColumnSums(args.dqkv, args.rows, columns, args.type, args.workspace, args.dbias);
}

}  // namespace tactus::ops::cuda
