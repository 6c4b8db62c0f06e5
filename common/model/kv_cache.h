// Paged key/value storage: one pool of pages for all layers, shared by the decode, prefill and training paths.
//
// Elements are float32 or bfloat16, as the weights are; bfloat16 keys and values are rounded where they are made
// (layer_forward.cc), so that storing them loses nothing.
//
// K is kept transposed inside a page, [D, 16], so that a query row against 16 keys is a chain of fused multiply-adds
// over D with no horizontal sums; V is [16, D]. Page p of layer l belongs to whoever the page tables say: see
// actor/engine. Not thread-safe; owns its memory.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "common/base/dtype.h"
#include "common/model/folder/model_config.h"
#include "common/model/forward_batch.h"

namespace tactus {

class KvCache {
 public:
  // Zero-filled: a page's unused slots must stay finite.
  KvCache(const ModelConfig& config, StorageDType dtype, int64_t num_layers, int64_t num_pages);

  int64_t num_pages() const { return num_pages_; }
  ops::PagedKeysValues layer(int64_t index);

  // Copies one page (all layers, K and V): a shared page about to be written gets a private copy.
  void CopyPage(int32_t from, int32_t to);

  static int64_t BytesPerPage(const ModelConfig& config, StorageDType dtype, int64_t num_layers);

 private:
  StorageDType dtype_;
  int64_t num_layers_;
  int64_t num_pages_;
  int64_t page_bytes_;  // of one page in one layer's K or V: kv_heads * 16 * D elements
  at::Tensor keys_;     // [layers, pages, kv_heads, D, 16]
  at::Tensor values_;   // [layers, pages, kv_heads, 16, D]
};

}  // namespace tactus
