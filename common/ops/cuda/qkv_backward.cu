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

}  // namespace

void FinishQkvBackward(const FinishQkvBackwardArgs& args) {
  if (args.head_dim % 2 != 0 || args.head_dim > 2 * kMaxPairs * device::kWarpThreads) {
    throw std::invalid_argument("FinishQkvBackward: head_dim is not even or above 256");
  }
  if (args.rows == 0) return;
  const int64_t d = args.head_dim, columns = (args.num_heads + 2 * args.num_kv_heads) * d;
  const unsigned blocks = BlocksFor(args.rows, kGradientBlockRows);
  ForStorageType(args.type, "FinishQkvBackward", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const size_t shared = args.q_norm == nullptr ? 0 : static_cast<size_t>(kWarps * 2 * d) * sizeof(float);
    device::Launch(RotatedHeads<T>, dim3(blocks), dim3(kWarps * device::kWarpThreads), shared, args);
  });
  if (args.q_norm != nullptr) {
    AddBlockSums(args.workspace, blocks, d, 2 * d, args.dq_norm);
    AddBlockSums(args.workspace + d, blocks, d, 2 * d, args.dk_norm);
  }
  if (args.dbias != nullptr) AddColumnSums(args.dqkv, args.rows, columns, args.type, args.workspace, args.dbias);
}

}  // namespace tactus::ops::cuda
