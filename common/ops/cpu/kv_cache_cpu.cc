#include "common/ops/cpu/kv_cache_cpu.h"

#include <cstring>

namespace tactus::ops {

void KvCacheCpu::CopyPage(int32_t from, int32_t to) {
  for (int64_t i = 0; i < num_layers_; ++i) {
    const PagedKeysValues pages = layer(i);
    for (void* memory : {pages.keys, pages.values}) {
      auto* const bytes = static_cast<std::byte*>(memory);
      std::memcpy(bytes + to * page_bytes_, bytes + from * page_bytes_, static_cast<size_t>(page_bytes_));
    }
  }
}

}  // namespace tactus::ops
