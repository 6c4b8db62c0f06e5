#include <algorithm>

#include "common/device/kernel_cuda.h"
#include "common/device/runtime_cuda.h"
#include "common/ops/cuda/kv_cache_cuda.h"

namespace tactus::ops {
namespace {

constexpr int kThreads = 128;

// Passed by value, so that copies need no memory of their own on the device.
struct Pairs {
  PagePair pair[KvCacheCuda::kMostPairs];
};

// Block (p, h): pair p in half h.
__global__ void CopyPagesKernel(uint4* pages, int64_t half_words, int64_t page_words, Pairs pairs) {
  const PagePair pair = pairs.pair[blockIdx.x];
  const uint4* from = pages + blockIdx.y * half_words + pair.from * page_words;
  uint4* to = pages + blockIdx.y * half_words + pair.to * page_words;
  for (int64_t i = threadIdx.x; i < page_words; i += kThreads) to[i] = from[i];
}

}  // namespace

KvCacheCuda::KvCacheCuda(const AttentionShape& shape, StorageDType dtype, int64_t num_layers, int64_t num_pages,
                         int gpu)
    : halves_(2 * num_layers), num_pages_(num_pages), page_bytes_(KvPageBytes(shape, dtype, 1) / 2) {
  pages_ = device::DeviceEmpty(gpu, {halves_, num_pages_, page_bytes_}, at::kByte);
  device::ZeroAsync(pages_.data_ptr(), static_cast<size_t>(halves_ * num_pages_ * page_bytes_));
}

void KvCacheCuda::CopyPages(std::span<const PagePair> pairs) {
  Pairs argument = {};
  std::copy(pairs.begin(), pairs.end(), argument.pair);
  const int64_t page_words = page_bytes_ / static_cast<int64_t>(sizeof(uint4));
  device::Launch(CopyPagesKernel, dim3(static_cast<unsigned>(pairs.size()), static_cast<unsigned>(halves_)),
                 dim3(kThreads), 0, static_cast<uint4*>(pages_.data_ptr()), num_pages_ * page_words, page_words,
                 argument);
}

}  // namespace tactus::ops
