#include "common/data/row_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"

namespace tactus {
namespace {

using ::testing::HasSubstr;

std::string RowOf(size_t i) { return std::string(i * 37 % 201, static_cast<char>('a' + i % 26)); }

void ExpectRows(const RowStore& store, size_t count) {
  ASSERT_EQ(store.size(), count);
  for (size_t i = count; i-- > 0;) ASSERT_EQ(store.Read(i).value(), RowOf(i)) << i;
}

TEST(RowStoreTest, RowsComeBackFromMemoryAndFromTheFile) {
  for (const size_t memory : {size_t{0}, size_t{500}, size_t{1} << 20}) {
    RowStore store(memory);
    for (size_t i = 0; i < 300; ++i) {
      ASSERT_TRUE(store.Append(RowOf(i)).ok());
      if (i % 50 == 0) ExpectRows(store, i + 1);
    }
    EXPECT_EQ(store.in_memory(), memory == size_t{1} << 20);
    ExpectRows(store, 300);
  }
}

TEST(RowStoreTest, MovesWithItsFileAndIsReadByManyThreads) {
  RowStore first(0);
  for (size_t i = 0; i < 20'000; ++i) ASSERT_TRUE(first.Append(RowOf(i)).ok());
  EXPECT_FALSE(first.in_memory());
  RowStore store = std::move(first);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) threads.emplace_back([&store] { ExpectRows(store, 20'000); });
  for (std::thread& thread : threads) thread.join();
}

TEST(RowStoreTest, ADiskThatIsNotThereIsNamed) {
  ASSERT_EQ(::setenv("TMPDIR", "/nowhere", 1), 0);
  RowStore store(4);
  EXPECT_TRUE(store.Append("1234").ok());
  EXPECT_THAT(std::string(store.Append("5").message()), HasSubstr("/nowhere"));
  ::unsetenv("TMPDIR");
}

}  // namespace
}  // namespace tactus
