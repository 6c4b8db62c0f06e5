#include "common/base/finite.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "common/base/dtype.h"

namespace tactus {
namespace {

template <typename T>
std::optional<std::string> Find(const std::vector<T>& values, int64_t first = 0) {
  return FindNonFinite(std::span<const T>(values), first);
}

TEST(FiniteTest, NamesTheFirstOneOfFloats) {
  std::vector<float> values(100, std::numeric_limits<float>::lowest());
  values[3] = std::numeric_limits<float>::max();
  values[4] = -0.0f;
  values[5] = std::numeric_limits<float>::denorm_min();
  EXPECT_EQ(Find(values), std::nullopt);
  values[99] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(Find(values), "NaN at element 99");
  values[98] = -std::numeric_limits<float>::infinity();
  EXPECT_EQ(Find(values, 1000), "infinity at element 1098");
  EXPECT_EQ(Find(std::vector<float>()), std::nullopt);
}

TEST(FiniteTest, AgreesWithEveryBfloat16) {
  for (uint32_t bits = 0; bits < 1 << 16; ++bits) {
    const float value = BFloat16ToFloat(static_cast<uint16_t>(bits));
    const std::optional<std::string> found = Find(std::vector<uint16_t>{0, static_cast<uint16_t>(bits)});
    ASSERT_EQ(found.has_value(), !std::isfinite(value)) << bits;
    if (found.has_value()) {
      ASSERT_EQ(*found, std::isnan(value) ? "NaN at element 1" : "infinity at element 1");
    }
    ASSERT_EQ(Find(std::vector<float>{value}).has_value(), found.has_value()) << bits;
  }
}

}  // namespace
}  // namespace tactus
