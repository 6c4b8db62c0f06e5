// What kernels are written in: the part of CUDA C++ that both nvcc and the emulation understand. Included by .cu files.
//
// Kernels use __global__, __device__, threadIdx, blockIdx, blockDim, gridDim, __syncthreads, __syncwarp and
// __shfl[_xor|_down]_sync with the full mask and whole warps; shared memory is SharedMemory<T>() or a __shared__ array
// of a plain type. They are started with Launch: `kernel<<<...>>>` is not C++.
#pragma once

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <cstddef>
#include <cstdint>

#ifdef TACTUS_CUDA_EMULATED
#include "common/device/emulator_cuda.h"
#else
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime.h>
#endif

// Before a loop whose count is known: unrolled, so that arrays it indexes stay in registers.
#ifdef TACTUS_CUDA_EMULATED
#define TACTUS_UNROLL
#else
#define TACTUS_UNROLL _Pragma("unroll")
#endif

namespace tactus::device {

inline constexpr int kWarpThreads = 32;
inline constexpr unsigned kFullMask = 0xffffffffu;

using bf16 = c10::BFloat16;
using half = c10::Half;

#ifdef TACTUS_CUDA_EMULATED

// Enqueues `kernel` on grid.x * grid.y * grid.z blocks of block.x * block.y * block.z threads, each block with
// shared_bytes of SharedMemory. Threads per block: a multiple of 32, at most 1024. An empty grid is no work.
template <typename... Params, typename... Args>
void Launch(void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared_bytes, Args... args) {
  emulated::Enqueue(
      [=] { emulated::RunGrid(grid, block, shared_bytes, [&] { kernel(static_cast<Params>(args)...); }); });
}

template <typename T>
T* SharedMemory() {
  return static_cast<T*>(emulated::DynamicShared());
}

#else

template <typename... Params, typename... Args>
void Launch(void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared_bytes, Args... args) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  constexpr size_t kDefaultSharedBytes = 48 << 10;
  if (shared_bytes > kDefaultSharedBytes) {
    C10_CUDA_CHECK(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                        cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes)));
  }
  // clang-format off
  kernel<<<grid, block, shared_bytes, c10::cuda::getCurrentCUDAStream()>>>(static_cast<Params>(args)...);
  // clang-format on
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

template <typename T>
__device__ __forceinline__ T* SharedMemory() {
  extern __shared__ __align__(16) unsigned char bytes[];
  return reinterpret_cast<T*>(bytes);
}

#endif

}  // namespace tactus::device
