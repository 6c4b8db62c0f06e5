#include <algorithm>
#include <cstdint>
#include <numeric>

#include "common/device/kernel_cuda.h"
#include "common/weights/content_digest_cuda.h"

namespace tactus {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / device::kWarpThreads;
constexpr int64_t kWordBytes = sizeof(uint64_t);
constexpr int64_t kWordsPerThread = 8;  // at least, in a set that has so many

// The finaliser of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators): every bit of a word
// moves every bit. The word's place goes in, so that the sum over words, which has no order, tells where each was.
__device__ __forceinline__ uint64_t Mixed(uint64_t word, uint64_t place) {
  uint64_t z = word + (place + 1) * 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

// Bytes behind the last whole word, with zeros up to its end.
__device__ __forceinline__ uint64_t Rest(const unsigned char* bytes, int count) {
  uint64_t word = 0;
  for (int i = 0; i < count; ++i) word |= static_cast<uint64_t>(bytes[i]) << (8 * i);
  return word;
}

__global__ void __launch_bounds__(kThreads) DigestKernel(const void* data, int64_t bytes, uint64_t* parts) {
  __shared__ uint64_t sums[kWarps];
  const auto* const words = static_cast<const uint64_t*>(data);
  const int64_t count = bytes / kWordBytes, stride = static_cast<int64_t>(gridDim.x) * kThreads;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  uint64_t sum = 0;
  for (int64_t i = first; i < count; i += stride) sum += Mixed(words[i], static_cast<uint64_t>(i));
  if (first == 0) {
    const auto* const rest = static_cast<const unsigned char*>(data) + count * kWordBytes;
    // The length too: zeros at the end are not nothing.
    sum += Mixed(Rest(rest, static_cast<int>(bytes % kWordBytes)), static_cast<uint64_t>(count));
    sum += Mixed(static_cast<uint64_t>(bytes), ~static_cast<uint64_t>(1));
  }
  for (int offset = device::kWarpThreads / 2; offset > 0; offset /= 2) {
    sum += __shfl_xor_sync(device::kFullMask, sum, offset);
  }
  if (threadIdx.x % device::kWarpThreads == 0) sums[threadIdx.x / device::kWarpThreads] = sum;
  __syncthreads();
  if (threadIdx.x != 0) return;
  uint64_t all = 0;
  for (int w = 0; w < kWarps; ++w) all += sums[w];
  parts[blockIdx.x] = all;
}

}  // namespace

int64_t DigestParts(int64_t bytes) {
  return std::clamp<int64_t>(bytes / (kWordBytes * kWordsPerThread * kThreads), 1, kMostDigestParts);
}

void DigestContent(const void* data, int64_t bytes, uint64_t* parts) {
  device::Launch(DigestKernel, dim3(static_cast<unsigned>(DigestParts(bytes))), dim3(kThreads), 0, data, bytes, parts);
}

uint64_t DigestOf(std::span<const uint64_t> parts) { return std::accumulate(parts.begin(), parts.end(), uint64_t{0}); }

}  // namespace tactus
