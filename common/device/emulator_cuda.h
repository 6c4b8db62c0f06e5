// Runs CUDA kernels on the CPU, for tests: each thread of a block is a fiber, barriers and warp shuffles are switches
// between fibers. It finds wrong indexing, missing barriers (by running threads in another order) and barriers that not
// all threads reach (an abort that says so); with AddressSanitizer also accesses out of bounds. It knows nothing of
// speed, of memory ordering between barriers, nor of PTX.
//
// One grid runs at a time per OS thread, block after block.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <type_traits>

#include "absl/functional/function_ref.h"

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

namespace tactus::device::emulated {

// Runs `work` now, or keeps it where a graph is being recorded (runtime_emulated_cuda.cc).
void Enqueue(std::function<void()> work);

// Blocks until all of the grid has run. Aborts, naming the block and the threads, where a barrier is never complete.
void RunGrid(dim3 grid, dim3 block, size_t shared_bytes, absl::FunctionRef<void()> body);

// The order in which the blocks of a grid, and the threads of a block between barriers, run from now on. 0: by index;
// anything else: shuffled by it. A correct kernel gives the same bits in every order.
void SetOrder(uint64_t seed);

// From now on, until it is told otherwise, no graph can be recorded: as where a library does what a GPU will not have
// in one.
void RefuseGraphs(bool refuse);

// Bytes of GPU `index`'s memory that this process has taken through runtime_cuda.h: what the GPU would hold of them,
// and the most since the last ResetPeak.
struct DeviceBytes {
  int64_t now = 0, peak = 0;
};
DeviceBytes TakenBytes(int index = 0);
void ResetPeak(int index = 0);

// Of the fiber that asks.
const dim3& ThreadIndex();
const dim3& BlockIndex();
const dim3& BlockSize();
const dim3& GridSize();
void* DynamicShared();  // full of NaN patterns when the block starts
void SyncBlock();
void SyncWarp();
// The 8 bytes that lane `from` of the warp passed in the same call.
uint64_t Exchange(uint64_t mine, int from);
int Lane();

template <typename T>
T ExchangeValue(T mine, int from) {
  static_assert(sizeof(T) <= sizeof(uint64_t));
  uint64_t bits = 0;
  std::memcpy(&bits, &mine, sizeof(T));
  bits = Exchange(bits, from);
  std::memcpy(&mine, &bits, sizeof(T));
  return mine;
}

}  // namespace tactus::device::emulated

// NOLINTBEGIN(bugprone-reserved-identifier): CUDA's own names.
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __shared__ static thread_local
#define threadIdx (::tactus::device::emulated::ThreadIndex())
#define blockIdx (::tactus::device::emulated::BlockIndex())
#define blockDim (::tactus::device::emulated::BlockSize())
#define gridDim (::tactus::device::emulated::GridSize())

inline void __syncthreads() { tactus::device::emulated::SyncBlock(); }
inline void __syncwarp(unsigned = 0xffffffffu) { tactus::device::emulated::SyncWarp(); }
// Lanes outside the segment of `width` lanes read their own value, as on a GPU.
template <typename T>
T __shfl_sync(unsigned, T value, int from, int width = 32) {
  const int lane = tactus::device::emulated::Lane();
  return tactus::device::emulated::ExchangeValue(value, lane / width * width + from % width);
}
template <typename T>
T __shfl_xor_sync(unsigned, T value, int mask, int width = 32) {
  const int lane = tactus::device::emulated::Lane(), from = lane ^ mask;
  return tactus::device::emulated::ExchangeValue(value, from / width <= lane / width ? from : lane);
}
template <typename T>
T __shfl_down_sync(unsigned, T value, int delta, int width = 32) {
  const int lane = tactus::device::emulated::Lane(), from = lane + delta;
  return tactus::device::emulated::ExchangeValue(value, from / width == lane / width ? from : lane);
}

inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __fdividef(float x, float y) { return x / y; }
// Of integers alone: sums of floating-point numbers would depend on the order.
template <typename T>
T atomicAdd(T* at, T value) {
  static_assert(std::is_integral_v<T>);
  const T before = *at;
  *at += value;
  return before;
}
template <typename T>
T __ldg(const T* p) {
  return *p;
}
// NOLINTEND(bugprone-reserved-identifier)
