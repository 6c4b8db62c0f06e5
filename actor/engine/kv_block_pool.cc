#include "actor/engine/kv_block_pool.h"

#include <cassert>

namespace tactus {

KvBlockPool::KvBlockPool(int32_t num_pages) : references_(num_pages, 0) {
  free_.reserve(num_pages);
  for (int32_t page = num_pages - 1; page >= 0; --page) free_.push_back(page);
}

int32_t KvBlockPool::Allocate() {
  if (free_.empty()) return kNoPage;
  const int32_t page = free_.back();
  free_.pop_back();
  references_[page] = 1;
  return page;
}

void KvBlockPool::Share(int32_t page) {
  assert(references_[page] > 0);
  ++references_[page];
}

void KvBlockPool::Release(int32_t page) {
  assert(references_[page] > 0);
  if (--references_[page] == 0) free_.push_back(page);
}

void KvBlockPool::ReleaseAll(std::vector<int32_t>& pages) {
  for (const int32_t page : pages) Release(page);
  pages.clear();
}

}  // namespace tactus
