#include "common/base/philox.h"

#include <gtest/gtest.h>

namespace tactus {
namespace {

// The known-answer vectors of the Random123 distribution (kat_vectors, philox4x32 10).
TEST(PhiloxTest, MatchesKnownAnswers) {
  EXPECT_EQ(Philox4x32(0, {0, 0, 0, 0}), (PhiloxBlock{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox4x32(~uint64_t{0}, {~0u, ~0u, ~0u, ~0u}),
            (PhiloxBlock{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox4x32(uint64_t{0x299f31d0} << 32 | 0xa4093822, {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}),
            (PhiloxBlock{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(PhiloxTest, TokenDrawsDifferInEveryCoordinate) {
  const PhiloxBlock base = TokenDraw(1, 2, 3, 4, DrawPurpose::kSampling);
  EXPECT_NE(base, TokenDraw(2, 2, 3, 4, DrawPurpose::kSampling));
  EXPECT_NE(base, TokenDraw(1, 3, 3, 4, DrawPurpose::kSampling));
  EXPECT_NE(base, TokenDraw(1, 2, 4, 4, DrawPurpose::kSampling));
  EXPECT_NE(base, TokenDraw(1, 2, 3, 5, DrawPurpose::kSampling));
  EXPECT_NE(base, TokenDraw(1, 2, 3, 4, DrawPurpose::kRandomCredit));
}

TEST(PhiloxTest, UniformIsInRangeWithTheRightMean) {
  double sum = 0;
  constexpr int kDraws = 100000;
  for (int i = 0; i < kDraws; ++i) {
    const double u = UniformDouble(TokenDraw(1, 2, 3, static_cast<uint32_t>(i), DrawPurpose::kSampling));
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
    sum += u;
  }
  EXPECT_NEAR(sum / kDraws, 0.5, 5 * 0.2887 / 316);  // five standard errors
}

}  // namespace
}  // namespace tactus
