// The paged key/value cache of a decoder on a GPU. Pages hold T, token-major (attention_cuda.h). Owned by one thread;
// every call enqueues on the current queue.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "common/base/dtype.h"
#include "common/ops/attention_types.h"

namespace tactus::ops {

struct PagePair {
  int32_t from = 0, to = 0;
};

class KvCacheCuda {
 public:
  struct Pages {
    void* keys = nullptr;
    void* values = nullptr;
  };

  // Zero-filled.
  KvCacheCuda(const AttentionShape& shape, StorageDType dtype, int64_t num_layers, int64_t num_pages, int gpu);

  int64_t num_pages() const { return num_pages_; }
  Pages layer(int64_t index) const { return {At(2 * index), At(2 * index + 1)}; }

  // Of all layers. The pairs, at most kMostPairs, run at once: none may read or write what another one writes.
  static constexpr int64_t kMostPairs = 64;
  void CopyPages(std::span<const PagePair> pairs);

 private:
  void* At(int64_t half) const { return static_cast<std::byte*>(pages_.data_ptr()) + half * num_pages_ * page_bytes_; }

  int64_t halves_;  // keys and values of every layer
  int64_t num_pages_;
  int64_t page_bytes_;
  at::Tensor pages_;
};

}  // namespace tactus::ops
