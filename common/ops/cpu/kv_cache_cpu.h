// Paged key/value storage on the CPU: one pool of pages for all layers.
//
// Elements are float32 or bfloat16, as the weights are; bfloat16 keys and values are rounded where they are made
// (CpuBackend::FinishQkv), so that storing them loses nothing.
//
// K is kept transposed inside a page, [D, 16], so that a query row against 16 keys is a chain of fused multiply-adds
// over D with no horizontal sums; V is [16, D]. Page p of layer l belongs to whoever the page tables say: see
// actor/engine. Not thread-safe; owns its memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/base/dtype.h"
#include "common/ops/cpu/attention.h"
#include "common/ops/cpu/buffer.h"

namespace tactus::ops {

class KvCacheCpu {
 public:
  // Zero-filled: a page's unused slots must stay finite.
  KvCacheCpu(const AttentionShape& shape, StorageDType dtype, int64_t num_layers, int64_t num_pages)
      : dtype_(dtype),
        num_layers_(num_layers),
        num_pages_(num_pages),
        page_bytes_(KvPageBytes(shape, dtype, 1) / 2),
        keys_(num_layers * num_pages * page_bytes_),
        values_(num_layers * num_pages * page_bytes_) {}

  int64_t num_pages() const { return num_pages_; }
  PagedKeysValues layer(int64_t index) {
    const int64_t offset = index * num_pages_ * page_bytes_;
    return {.keys = keys_.data() + offset, .values = values_.data() + offset, .dtype = dtype_};
  }

  // Copies one page (all layers, K and V): a shared page about to be written gets a private copy.
  void CopyPage(int32_t from, int32_t to);

 private:
  StorageDType dtype_;
  int64_t num_layers_;
  int64_t num_pages_;
  int64_t page_bytes_;        // of one page in one layer's K or V: Hk * 16 * D elements
  Buffer<std::byte> keys_;    // [layers, pages, Hk, D, 16]
  Buffer<std::byte> values_;  // [layers, pages, Hk, 16, D]
};

}  // namespace tactus::ops
