#include "common/device/kernel_cuda.h"
#include "common/ops/cuda/backward_cuda.h"
#include "common/ops/cuda/column_sums_cuda.h"
#include "common/ops/cuda/dispatch_cuda.h"
#include "common/ops/cuda/vector_cuda.h"

namespace tactus::ops::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / device::kWarpThreads;

// One block per row: dx (+)= inverse * (w dy - x inverse^2 mean(w dy x)).
template <typename T>
__global__ void NormInputGradient(RmsNormBackwardArgs args) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * args.hidden;
  const T* dy = static_cast<const T*>(args.dy) + at;
  const float* x = args.x + at;
  float* dx = args.dx + at;
  const float inverse = args.inverse_rms[blockIdx.x];
  float dot = 0;
  for (int64_t j = threadIdx.x; j < args.hidden; j += blockDim.x) {
    dot += args.weight[j] * static_cast<float>(dy[j]) * x[j];
  }
  dot = BlockSum(dot, device::SharedMemory<float>());
  const float factor = inverse * inverse * inverse * dot / static_cast<float>(args.hidden);
  for (int64_t j = threadIdx.x; j < args.hidden; j += blockDim.x) {
    const float value = inverse * (args.weight[j] * static_cast<float>(dy[j])) - x[j] * factor;
    dx[j] = args.accumulate_dx ? dx[j] + value : value;
  }
}

// A column of a block of rows: the sum of dy x inverse.
template <typename T>
__global__ void NormWeightGradient(RmsNormBackwardArgs args) {
  const int64_t column = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (column >= args.hidden) return;
  const int64_t begin = static_cast<int64_t>(blockIdx.y) * kGradientBlockRows;
  const int64_t end = begin + kGradientBlockRows < args.rows ? begin + kGradientBlockRows : args.rows;
  float sum = 0;
  for (int64_t r = begin; r < end; ++r) {
    const int64_t at = r * args.hidden + column;
    sum += static_cast<float>(static_cast<const T*>(args.dy)[at]) * args.x[at] * args.inverse_rms[r];
  }
  args.workspace[blockIdx.y * args.hidden + column] = sum;
}

}  // namespace

void RmsNormBackward(const RmsNormBackwardArgs& args) {
  if (args.rows == 0) return;
  ForStorageType(args.type, "RmsNormBackward", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const auto blocks = static_cast<unsigned>(GradientWorkspaceFloats(args.rows, 1));
    // The weight's first: dx may be where x or dy lie.
    device::Launch(NormWeightGradient<T>, dim3(BlocksFor(args.hidden, kThreads), blocks), dim3(kThreads), 0, args);
    AddBlockSums(args.workspace, blocks, args.hidden, args.hidden, args.dweight);
    device::Launch(NormInputGradient<T>, dim3(static_cast<unsigned>(args.rows)), dim3(kThreads), kWarps * sizeof(float),
                   args);
  });
}

}  // namespace tactus::ops::cuda
