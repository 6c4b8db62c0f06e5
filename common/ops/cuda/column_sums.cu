#include "common/device/kernel_cuda.h"
#include "common/ops/cuda/backward_cuda.h"
#include "common/ops/cuda/column_sums_cuda.h"
#include "common/ops/cuda/dispatch_cuda.h"

namespace tactus::ops::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void AddBlocks(const float* partial, int64_t blocks, int64_t width, int64_t stride, float* total) {
  const int64_t column = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (column >= width) return;
  float sum = total[column];
  for (int64_t b = 0; b < blocks; ++b) sum += partial[b * stride + column];
  total[column] = sum;
}

template <typename T>
__global__ void SumColumns(const T* x, int64_t rows, int64_t width, float* partial) {
  const int64_t column = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (column >= width) return;
  const int64_t begin = static_cast<int64_t>(blockIdx.y) * kGradientBlockRows;
  const int64_t end = begin + kGradientBlockRows < rows ? begin + kGradientBlockRows : rows;
  float sum = 0;
  for (int64_t r = begin; r < end; ++r) sum += static_cast<float>(x[r * width + column]);
  partial[blockIdx.y * width + column] = sum;
}

}  // namespace

void AddBlockSums(const float* partial, int64_t blocks, int64_t width, int64_t stride, float* total) {
  device::Launch(AddBlocks, dim3(BlocksFor(width, kThreads)), dim3(kThreads), 0, partial, blocks, width, stride, total);
}

void AddColumnSums(const void* x, int64_t rows, int64_t width, at::ScalarType type, float* workspace, float* total) {
  ForStorageType(type, "AddColumnSums", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const unsigned blocks = BlocksFor(rows, kGradientBlockRows);
    device::Launch(SumColumns<T>, dim3(BlocksFor(width, kThreads), blocks), dim3(kThreads), 0, static_cast<const T*>(x),
                   rows, width, workspace);
    AddBlockSums(workspace, blocks, width, width, total);
  });
}

}  // namespace tactus::ops::cuda
