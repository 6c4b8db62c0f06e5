#include "actor/engine/page_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <vector>

namespace tactus {
namespace {

TEST(PagePoolTest, HandsOutEveryPageOnceThenNone) {
  PagePool pool(5);
  std::set<int32_t> pages;
  for (int i = 0; i < 5; ++i) pages.insert(pool.Allocate());
  EXPECT_EQ(pages, (std::set<int32_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(pool.Allocate(), PagePool::kNoPage);
  EXPECT_EQ(pool.free_pages(), 0);
}

TEST(PagePoolTest, ASharedPageReturnsWithItsLastReference) {
  PagePool pool(1);
  const int32_t page = pool.Allocate();
  pool.Share(page);
  pool.Release(page);
  EXPECT_EQ(pool.Allocate(), PagePool::kNoPage);
  pool.Release(page);
  EXPECT_EQ(pool.Allocate(), page);
}

// Random holders allocate, share and release; the pool must agree with a plain count of who holds what.
TEST(PagePoolTest, NeverLeaksOrGivesAPageTwice) {
  std::mt19937 random(7);
  for (int round = 0; round < 50; ++round) {
    const int num_pages = 1 + static_cast<int>(random() % 20);
    PagePool pool(num_pages);
    std::vector<std::vector<int32_t>> holders(4);
    for (int step = 0; step < 400; ++step) {
      auto& holder = holders[random() % holders.size()];
      auto& other = holders[random() % holders.size()];
      switch (random() % 4) {
        case 0:
        case 1: {
          const int32_t page = pool.Allocate();
          if (page == PagePool::kNoPage) break;
          for (const auto& any : holders) ASSERT_EQ(std::count(any.begin(), any.end(), page), 0);
          holder.push_back(page);
          break;
        }
        case 2:
          if (other.empty()) break;
          pool.Share(other.front());
          holder.push_back(other.front());
          break;
        default:
          pool.ReleaseAll(holder);
          ASSERT_TRUE(holder.empty());
      }
      std::set<int32_t> held;
      for (const auto& any : holders) held.insert(any.begin(), any.end());
      ASSERT_EQ(pool.free_pages(), num_pages - static_cast<int>(held.size()));
      for (const int32_t page : held) {
        int64_t count = 0;
        for (const auto& any : holders) count += std::count(any.begin(), any.end(), page);
        ASSERT_EQ(pool.references(page), count);
      }
    }
    for (auto& holder : holders) pool.ReleaseAll(holder);
    ASSERT_EQ(pool.free_pages(), num_pages);
  }
}

}  // namespace
}  // namespace tactus
