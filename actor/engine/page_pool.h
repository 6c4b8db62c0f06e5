// Hands out the pages of the key/value cache and counts who holds each one.
//
// The G completions of a prompt share its full pages: each holds a reference, the page returns to the pool with the
// last one. Pure host code: knows page numbers, not their content. Not thread-safe. Never blocks.
#pragma once

#include <cstdint>
#include <vector>

namespace tactus {

class PagePool {
 public:
  static constexpr int32_t kNoPage = -1;

  explicit PagePool(int32_t num_pages);

  int32_t num_pages() const { return static_cast<int32_t>(references_.size()); }
  int32_t free_pages() const { return static_cast<int32_t>(free_.size()); }

  // A free page with one reference, or kNoPage when there is none.
  int32_t Allocate();
  // One more reference to a page that is in use.
  void Share(int32_t page);
  // Gives one reference back; the last one frees the page.
  void Release(int32_t page);
  // Releases every page of a table and empties it.
  void ReleaseAll(std::vector<int32_t>& pages);

  int32_t references(int32_t page) const { return references_[page]; }

 private:
  std::vector<int32_t> references_;  // [num_pages]
  std::vector<int32_t> free_;        // a stack: the page freed last is the warmest in the caches
};

}  // namespace tactus
