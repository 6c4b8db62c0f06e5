#include "common/model/kv_cache.h"

#include <ATen/ops/zeros.h>

#include <algorithm>

namespace tactus {

KvCache::KvCache(const ModelConfig& config, int64_t num_layers, int64_t num_pages)
    : num_layers_(num_layers),
      num_pages_(num_pages),
      page_stride_(config.num_kv_heads * config.head_dim * kPageTokens),
      keys_(at::zeros({num_layers, num_pages, config.num_kv_heads, config.head_dim, kPageTokens})),
      values_(at::zeros({num_layers, num_pages, config.num_kv_heads, kPageTokens, config.head_dim})) {}

ops::PagedKeysValues KvCache::layer(int64_t index) {
  const int64_t offset = index * num_pages_ * page_stride_;
  return {.keys = keys_.data_ptr<float>() + offset, .values = values_.data_ptr<float>() + offset};
}

void KvCache::CopyPage(int32_t from, int32_t to) {
  for (int64_t i = 0; i < num_layers_; ++i) {
    const ops::PagedKeysValues pages = layer(i);
    std::copy_n(pages.keys + from * page_stride_, page_stride_, pages.keys + to * page_stride_);
    std::copy_n(pages.values + from * page_stride_, page_stride_, pages.values + to * page_stride_);
  }
}

int64_t KvCache::BytesPerPage(const ModelConfig& config, int64_t num_layers) {
  return 2 * num_layers * config.num_kv_heads * config.head_dim * kPageTokens * static_cast<int64_t>(sizeof(float));
}

}  // namespace tactus
