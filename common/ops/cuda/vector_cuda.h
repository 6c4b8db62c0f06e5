// What the kernels here share: memory accesses of several elements, sums over a warp and over a block.
#pragma once

#include <cstdint>
#include <cstring>

#include "common/device/kernel_cuda.h"

namespace tactus::ops::cuda {

// N elements that one instruction loads or stores; its address is a multiple of its size.
template <typename T, int N>
struct alignas(sizeof(T) * N) Pack {
  T at[N];
};
// Elements of the widest access, 16 bytes.
template <typename T>
inline constexpr int kWide = 16 / static_cast<int>(sizeof(T));

template <typename T, int N>
__device__ __forceinline__ void Unpack(const Pack<T, N>& pack, float* to) {
  TACTUS_UNROLL
  for (int i = 0; i < N; ++i) to[i] = static_cast<float>(pack.at[i]);
}
// A bfloat16 number is the upper half of a float32: one instruction each, on two at a time.
template <int N>
__device__ __forceinline__ void Unpack(const Pack<device::bf16, N>& pack, float* to) {
  TACTUS_UNROLL
  for (int i = 0; i < N; i += 2) {
    uint32_t pair;
    memcpy(&pair, &pack.at[i], sizeof(pair));
    const uint32_t low = pair << 16, high = pair & 0xffff0000u;
    memcpy(&to[i], &low, sizeof(low));
    memcpy(&to[i + 1], &high, sizeof(high));
  }
}

template <int N, typename T>
__device__ __forceinline__ void LoadFloats(const T* from, float* to) {
  Unpack(*reinterpret_cast<const Pack<T, N>*>(from), to);
}
template <int N, typename T>
__device__ __forceinline__ void StoreFloats(const float* from, T* to) {
  Pack<T, N> pack;
  TACTUS_UNROLL
  for (int i = 0; i < N; ++i) pack.at[i] = static_cast<T>(from[i]);
  *reinterpret_cast<Pack<T, N>*>(to) = pack;
}

// Over the 32 lanes, in all of them: a tree, so its order is fixed.
template <typename T>
__device__ __forceinline__ T WarpSum(T value) {
  TACTUS_UNROLL
  for (int offset = device::kWarpThreads / 2; offset > 0; offset /= 2) {
    value += __shfl_xor_sync(device::kFullMask, value, offset);
  }
  return value;
}

// Over the block, in all threads: each warp's tree, then the warps in order. partial: shared memory for a number per
// warp, which nothing else uses between the barriers around.
template <typename T>
__device__ __forceinline__ T BlockSum(T value, T* partial) {
  const int warps = static_cast<int>(blockDim.x) / device::kWarpThreads;
  value = WarpSum(value);
  __syncthreads();
  partial[static_cast<int>(threadIdx.x) / device::kWarpThreads] = value;
  __syncthreads();
  T sum = partial[0];
  for (int w = 1; w < warps; ++w) sum += partial[w];
  return sum;
}

}  // namespace tactus::ops::cuda
