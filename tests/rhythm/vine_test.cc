#include "common/rhythm/vine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace tactus {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(VineTest, ChunksAreEvenlySpacedFromTheBeginning) {
  EXPECT_THAT(ChunkStarts(10, 4), ElementsAre(0, 2, 5, 7));
  EXPECT_THAT(ChunkStarts(9, 3), ElementsAre(0, 3, 6));
  EXPECT_THAT(ChunkStarts(3, 8), ElementsAre(0, 1, 2)) << "no chunk is empty";
  EXPECT_THAT(ChunkStarts(5, 1), ElementsAre(0));
  EXPECT_THAT(ChunkStarts(0, 4), IsEmpty());
  for (int64_t tokens = 1; tokens < 70; ++tokens) {
    const std::vector<int32_t> starts = ChunkStarts(tokens, 8);
    ASSERT_EQ(starts.size(), static_cast<size_t>(std::min<int64_t>(8, tokens)));
    for (size_t m = 0; m < starts.size(); ++m) {
      const int64_t size = (m + 1 < starts.size() ? starts[m + 1] : tokens) - starts[m];
      EXPECT_TRUE(size == tokens / static_cast<int64_t>(starts.size()) ||
                  size == tokens / static_cast<int64_t>(starts.size()) + 1)
          << size << " of " << tokens;
    }
  }
}

TEST(VineTest, WorthIsHowMuchAChunkChangedTheValue) {
  const std::vector<int32_t> starts = ChunkStarts(7, 3);  // 0, 2, 4
  EXPECT_THAT(ChunkWorth(7, starts, std::vector<double>{0.5, 0.25, 0.25, 1}),
              ElementsAre(0.25e9, 0.25e9, 0, 0, 0.75e9, 0.75e9, 0.75e9));
  EXPECT_THAT(ChunkWorth(0, {}, std::vector<double>{0.5}), IsEmpty());
}

// Sums of the same rewards in another order differ in their last bit, which is no worth, and breaks no tie.
TEST(VineTest, RoundingIsNoWorth) {
  const double sum = 0.1 + 0.2 + 0.3, other = 0.3 + 0.2 + 0.1;
  ASSERT_NE(sum, other);
  const std::vector<int32_t> starts = ChunkStarts(4, 4);
  const std::vector<double> worth = ChunkWorth(4, starts, std::vector<double>{0, sum, other, 0, 1});
  EXPECT_EQ(worth[0], worth[2]);
  EXPECT_EQ(worth[1], 0);
  EXPECT_EQ(worth[3], 1e9);
}

TEST(VineTest, APromptIsOnePlaceForAllAnswers) {
  EXPECT_EQ(PlaceBefore(3, 0), (VinePlace{0, 0}));
  EXPECT_EQ(PlaceBefore(3, 5), (VinePlace{3, 5}));
}

}  // namespace
}  // namespace tactus
