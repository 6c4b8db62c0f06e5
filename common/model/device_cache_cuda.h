// The paged key/value cache of a decoder on a GPU, and the two small kernels around it. Pages hold T, token-major
// (common/ops/cuda/attention_cuda.h). Owned by one thread; every call enqueues on the current queue.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "common/base/dtype.h"
#include "common/model/folder/model_config.h"

namespace tactus {

struct PagePair {
  int32_t from = 0, to = 0;
};

class DeviceCache {
 public:
  // Zero-filled.
  DeviceCache(const ModelConfig& config, StorageDType dtype, int64_t num_pages, int gpu);

  int64_t num_pages() const { return num_pages_; }
  void* keys(int64_t layer) const { return At(2 * layer); }
  void* values(int64_t layer) const { return At(2 * layer + 1); }

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

// to [count, row_bytes] = the rows of `from` that `rows` names. row_bytes and both starts: multiples of 16.
void GatherRows(const void* from, const int32_t* rows, int64_t count, int64_t row_bytes, void* to);

}  // namespace tactus
