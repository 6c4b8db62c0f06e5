#include "common/data/audit.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

namespace tactus {
namespace {

Decimal Share(const char* text) { return Decimal::ParseShare(text, "share").value(); }

std::vector<uint64_t> AuditedUpTo(uint64_t end, const char* share) {
  std::vector<uint64_t> ids;
  for (uint64_t id = 0; id < end; ++id) {
    if (Audited(id, Share(share))) ids.push_back(id);
  }
  return ids;
}

TEST(AuditTest, IsSpreadEvenly) {
  EXPECT_EQ(AuditedUpTo(24, "0.125"), (std::vector<uint64_t>{7, 15, 23}));
  EXPECT_EQ(AuditedUpTo(10, "0.3"), (std::vector<uint64_t>{3, 6, 9}));
  EXPECT_EQ(AuditedUpTo(5, "0.7"), (std::vector<uint64_t>{1, 2, 4}));
  EXPECT_EQ(AuditedUpTo(1000, "0"), std::vector<uint64_t>());
  EXPECT_EQ(AuditedUpTo(100, "1").size(), 100u);
}

// The definition in wide integers, which the short form must equal everywhere.
__extension__ using Wide = unsigned __int128;

bool ByDefinition(uint64_t id, Decimal share) {
  const auto floor = [&](Wide n) {
    return n * static_cast<Wide>(share.numerator()) / static_cast<Wide>(share.denominator());
  };
  return floor(Wide{id} + 1) > floor(id);
}

TEST(AuditTest, IsExactForEveryShareAndId) {
  const uint64_t starts[] = {0, 123456789, uint64_t{1} << 32, std::numeric_limits<uint64_t>::max() - 2999};
  for (const char* text : {"0.000000001", "0.1", "0.125", "0.333333333", "0.9", "0.999999999", "1"}) {
    for (const uint64_t start : starts) {
      for (uint64_t i = 0; i < 3000; ++i) {
        EXPECT_EQ(Audited(start + i, Share(text)), ByDefinition(start + i, Share(text))) << start + i << " of " << text;
      }
    }
  }
  EXPECT_TRUE(Audited(999'999'999, Share("0.000000001")));
  EXPECT_FALSE(Audited(999'999'998, Share("0.000000001")));
}

}  // namespace
}  // namespace tactus
