#include "common/device/kernel_cuda.h"
#include "common/ops/cuda/adamw_cuda.h"
#include "common/ops/cuda/dispatch_cuda.h"
#include "common/ops/cuda/vector_cuda.h"

namespace tactus::ops::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / device::kWarpThreads;

// partial[block] = the sum of squares of values [begin, end).
__device__ void SquaresOfBlock(const float* values, int64_t begin, int64_t end, double* partial) {
  double sum = 0;
  for (int64_t i = begin + threadIdx.x; i < end; i += blockDim.x) {
    const double value = values[i];
    sum += value * value;
  }
  sum = BlockSum(sum, device::SharedMemory<double>());
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

__global__ void BlockSquares(const float* values, int64_t count, double* partial) {
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * kNormBlock;
  SquaresOfBlock(values, begin, begin + kNormBlock < count ? begin + kNormBlock : count, partial);
}

__global__ void SegmentSquares(const AdamWSegment* segments, const float* values, double* partial) {
  const AdamWSegment segment = segments[blockIdx.x];
  SquaresOfBlock(values, segment.begin, segment.begin + segment.count, partial);
}

__global__ void AddDoubles(const double* values, int64_t count, double* total) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += blockDim.x) sum += values[i];
  sum = BlockSum(sum, device::SharedMemory<double>());
  if (threadIdx.x == 0) *total = sum;
}

template <typename T>
__global__ void Update(AdamWUpdateArgs args) {
  const AdamWSegment segment = args.segments[blockIdx.x];
  const float keep = segment.decays != 0 ? args.keep : 1.0f;
  for (int32_t offset = threadIdx.x; offset < segment.count; offset += blockDim.x) {
    const int64_t from = segment.begin + offset, i = segment.place + offset;
    const float g = args.gradients[from] * args.clip;
    const float m = args.beta1 * args.first[i] + args.one_minus_beta1 * g;
    const float v = args.beta2 * args.second[i] + args.one_minus_beta2 * (g * g);
    args.first[i] = m;
    args.second[i] = v;
    const float denominator = sqrtf(v) * args.inverse_sqrt_correction + args.eps;
    const float parameter = args.parameters[i] * keep - args.step_size * (m / denominator);
    args.parameters[i] = parameter;
    if (args.rounded != nullptr) static_cast<T*>(args.rounded)[from] = static_cast<T>(parameter);
  }
}

constexpr size_t kSharedBytes = kWarps * sizeof(double);

}  // namespace

void SumOfSquares(const float* values, int64_t count, double* workspace, double* sum) {
  const int64_t blocks = NormBlocks(count);
  device::Launch(BlockSquares, dim3(static_cast<unsigned>(blocks)), dim3(kThreads), kSharedBytes, values, count,
                 workspace);
  device::Launch(AddDoubles, dim3(1), dim3(kThreads), kSharedBytes, workspace, blocks, sum);
}

void SumOfSquaresIn(const AdamWSegment* segments, int64_t count, const float* values, double* workspace, double* sum) {
  device::Launch(SegmentSquares, dim3(static_cast<unsigned>(count)), dim3(kThreads), kSharedBytes, segments, values,
                 workspace);
  device::Launch(AddDoubles, dim3(1), dim3(kThreads), kSharedBytes, workspace, count, sum);
}

void AdamWUpdate(const AdamWUpdateArgs& args) {
  if (args.num_segments == 0) return;
  ForStorageType(args.type, "AdamWUpdate", [&](auto tag) {
    using T = typename decltype(tag)::type;
    device::Launch(Update<T>, dim3(static_cast<unsigned>(args.num_segments)), dim3(kThreads), 0, args);
  });
}

}  // namespace tactus::ops::cuda
