#include "common/base/decimal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace tactus {
namespace {

TEST(DecimalTest, CountsExactly) {
  // In binary floating point 0.7 * 10 and 0.29 * 100 fall on the wrong side.
  EXPECT_EQ(Decimal::ParseShare("0.7", "q")->FloorOf(10), 7);
  EXPECT_EQ(Decimal::ParseShare("0.29", "q")->FloorOf(100), 29);
  EXPECT_EQ(Decimal::ParseShare("0.3", "q")->FloorOf(9), 2);
  EXPECT_EQ(Decimal::ParseShare(".5", "q")->FloorOf(7), 3);
  EXPECT_EQ(Decimal::ParseShare("1", "q")->FloorOf(4'000'000'000), 4'000'000'000);
  EXPECT_EQ(Decimal::ParseShare("0.999999999", "q")->FloorOf(4'000'000'000), 3'999'999'996);
  EXPECT_EQ(Decimal::ParseShare("0", "q")->FloorOf(5), 0);
  EXPECT_EQ(Decimal::Tenths(7).FloorOf(10), 7);
  EXPECT_EQ(Decimal::Tenths(10).FloorOf(9), 9);
}

TEST(DecimalTest, RefusesEverythingElse) {
  for (const std::string text : {"", ".", "1.1", "2", "-0.1", "0,4", "4e-1", "0.4 ", "nan", "0.1.2", "0.0000000001",
                                 "99999999999999999999999", "00000000000000000000002"}) {
    const auto parsed = Decimal::ParseShare(text, "credit.q");
    ASSERT_FALSE(parsed.ok()) << text;
    EXPECT_THAT(std::string(parsed.status().message()), ::testing::HasSubstr("credit.q is \"" + text + "\""));
  }
}

}  // namespace
}  // namespace tactus
