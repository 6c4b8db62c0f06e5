#include <algorithm>

#include "common/device/kernel_cuda.h"
#include "common/device/runtime_cuda.h"
#include "common/model/device_cache_cuda.h"
#include "common/ops/cpu/attention.h"  // kPageTokens

namespace tactus {
namespace {

constexpr int kThreads = 128;

// Passed by value, so that copies need no memory of their own on the device.
struct Pairs {
  PagePair pair[DeviceCache::kMostPairs];
};

// Block (p, h): pair p in half h.
__global__ void CopyPagesKernel(uint4* pages, int64_t half_words, int64_t page_words, Pairs pairs) {
  const PagePair pair = pairs.pair[blockIdx.x];
  const uint4* from = pages + blockIdx.y * half_words + pair.from * page_words;
  uint4* to = pages + blockIdx.y * half_words + pair.to * page_words;
  for (int64_t i = threadIdx.x; i < page_words; i += kThreads) to[i] = from[i];
}

__global__ void GatherRowsKernel(const uint4* from, const int32_t* rows, int64_t row_words, uint4* to) {
  const uint4* source = from + rows[blockIdx.x] * row_words;
  uint4* target = to + blockIdx.x * row_words;
  for (int64_t i = threadIdx.x; i < row_words; i += kThreads) target[i] = source[i];
}

}  // namespace

DeviceCache::DeviceCache(const ModelConfig& config, StorageDType dtype, int64_t num_pages, int gpu)
    : halves_(2 * config.num_layers),
      num_pages_(num_pages),
      page_bytes_(config.num_kv_heads * kPageTokens * config.head_dim * BytesPerElement(dtype)) {
  pages_ = device::DeviceEmpty(gpu, {halves_, num_pages_, page_bytes_}, at::kByte);
  device::ZeroAsync(pages_.data_ptr(), static_cast<size_t>(halves_ * num_pages_ * page_bytes_));
}

void DeviceCache::CopyPages(std::span<const PagePair> pairs) {
  Pairs argument = {};
  std::copy(pairs.begin(), pairs.end(), argument.pair);
  const int64_t page_words = page_bytes_ / static_cast<int64_t>(sizeof(uint4));
  device::Launch(CopyPagesKernel, dim3(static_cast<unsigned>(pairs.size()), static_cast<unsigned>(halves_)),
                 dim3(kThreads), 0, static_cast<uint4*>(pages_.data_ptr()), num_pages_ * page_words, page_words,
                 argument);
}

void GatherRows(const void* from, const int32_t* rows, int64_t count, int64_t row_bytes, void* to) {
  device::Launch(GatherRowsKernel, dim3(static_cast<unsigned>(count)), dim3(kThreads), 0,
                 static_cast<const uint4*>(from), rows, row_bytes / static_cast<int64_t>(sizeof(uint4)),
                 static_cast<uint4*>(to));
}

}  // namespace tactus
