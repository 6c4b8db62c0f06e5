#include "common/ops/cpu/sparse_floats.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <utility>

#include "tests/sanitized.h"

namespace tactus::ops {
namespace {

int64_t ResidentFloats() {
  std::ifstream file("/proc/self/statm");
  int64_t total = 0, resident = 0;
  file >> total >> resident;
  return resident * sysconf(_SC_PAGESIZE) / static_cast<int64_t>(sizeof(float));
}

TEST(SparseFloatsTest, ReadsAsZeroWhereNothingWasWrittenOrAllWasReleased) {
  SparseFloats floats(10'000);
  EXPECT_TRUE(std::all_of(floats.data(), floats.data() + floats.size(), [](float v) { return v == 0; }));
  for (const auto& [begin, end] : {std::pair(0, 10'000), std::pair(3, 5), std::pair(1000, 2100), std::pair(1024, 2048),
                                   std::pair(17, 9'999), std::pair(500, 500)}) {
    std::fill_n(floats.data(), floats.size(), 1.5f);
    floats.Release(begin, end);
    for (int64_t i = 0; i < floats.size(); ++i) ASSERT_EQ(floats.data()[i], i >= begin && i < end ? 0 : 1.5f) << i;
  }
}

TEST(SparseFloatsTest, TakesMemoryWhereItIsWrittenAndGivesItBack) {
  constexpr int64_t kCount = int64_t{16} << 20, kSlack = int64_t{1} << 20;
  if (kSanitized) GTEST_SKIP() << "a sanitizer keeps memory of its own for each byte";
  const int64_t before = ResidentFloats();
  SparseFloats floats(kCount);
  EXPECT_LT(ResidentFloats() - before, kSlack);
  std::fill_n(floats.data(), kCount / 2, 1.0f);
  EXPECT_NEAR(static_cast<double>(ResidentFloats() - before), kCount / 2, kSlack);
  floats.Release(kCount / 4, kCount);
  EXPECT_NEAR(static_cast<double>(ResidentFloats() - before), kCount / 4, kSlack);
  EXPECT_EQ(floats.data()[kCount / 4 - 1], 1);
  SparseFloats moved = std::move(floats);
  EXPECT_EQ(moved.data()[0], 1);
}

}  // namespace
}  // namespace tactus::ops
