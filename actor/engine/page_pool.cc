#include "actor/engine/page_pool.h"

#include <cassert>

namespace tactus {

PagePool::PagePool(int32_t num_pages) : references_(num_pages, 0) {
  free_.reserve(num_pages);
  for (int32_t page = num_pages - 1; page >= 0; --page) free_.push_back(page);
}

int32_t PagePool::Allocate() {
  if (free_.empty()) return kNoPage;
  const int32_t page = free_.back();
  free_.pop_back();
  references_[page] = 1;
  return page;
}

void PagePool::Share(int32_t page) {
  assert(references_[page] > 0);
  ++references_[page];
}

void PagePool::Release(int32_t page) {
  assert(references_[page] > 0);
  if (--references_[page] == 0) free_.push_back(page);
}

void PagePool::ReleaseAll(std::vector<int32_t>& pages) {
  for (const int32_t page : pages) Release(page);
  pages.clear();
}

}  // namespace tactus
