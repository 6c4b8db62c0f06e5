#include "common/model/kv_cache.h"

#include <ATen/ops/zeros.h>

#include <cstddef>
#include <cstring>

namespace tactus {
namespace {

at::ScalarType TypeOf(StorageDType dtype) { return dtype == StorageDType::kFloat32 ? at::kFloat : at::kBFloat16; }

std::byte* BytesOf(void* memory, int64_t offset) { return static_cast<std::byte*>(memory) + offset; }

}  // namespace

KvCache::KvCache(const ModelConfig& config, StorageDType dtype, int64_t num_layers, int64_t num_pages)
    : dtype_(dtype),
      num_layers_(num_layers),
      num_pages_(num_pages),
      page_bytes_(BytesPerPage(config, dtype, 1) / 2),
      keys_(at::zeros({num_layers, num_pages, config.num_kv_heads, config.head_dim, kPageTokens}, TypeOf(dtype))),
      values_(at::zeros({num_layers, num_pages, config.num_kv_heads, kPageTokens, config.head_dim}, TypeOf(dtype))) {}

ops::PagedKeysValues KvCache::layer(int64_t index) {
  const int64_t offset = index * num_pages_ * page_bytes_;
  return {.keys = BytesOf(keys_.data_ptr(), offset), .values = BytesOf(values_.data_ptr(), offset), .dtype = dtype_};
}

void KvCache::CopyPage(int32_t from, int32_t to) {
  for (int64_t i = 0; i < num_layers_; ++i) {
    const ops::PagedKeysValues pages = layer(i);
    for (void* memory : {pages.keys, pages.values}) {
      std::memcpy(BytesOf(memory, to * page_bytes_), BytesOf(memory, from * page_bytes_),
                  static_cast<size_t>(page_bytes_));
    }
  }
}

int64_t KvCache::BytesPerPage(const ModelConfig& config, StorageDType dtype, int64_t num_layers) {
  return 2 * num_layers * config.num_kv_heads * config.head_dim * kPageTokens * BytesPerElement(dtype);
}

}  // namespace tactus
