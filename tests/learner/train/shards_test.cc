#include "learner/train/shards.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace tactus {
namespace {

using ::testing::ElementsAre;

std::vector<FlatRange> CutBuckets(int64_t numel, int64_t bytes, int world) {
  return tactus::CutBuckets(numel, Sharding{.world = world, .bucket_bytes = bytes});
}

TEST(CutBucketsTest, GoFromTheEndToTheBeginning) {
  EXPECT_THAT(CutBuckets(160, 64 * 4, 2), ElementsAre(FlatRange{128, 160}, FlatRange{64, 128}, FlatRange{0, 64}));
  EXPECT_THAT(CutBuckets(160, 1 << 30, 2), ElementsAre(FlatRange{0, 160}));
  EXPECT_TRUE(CutBuckets(0, 100, 2).empty());
}

TEST(CutBucketsTest, TheRanksShareABucketEvenlyInCacheLines) {
  // 48 floats a rank are the most that fit 100 among 2, 32 among 3, and 16 are the least.
  EXPECT_THAT(CutBuckets(200, 100 * 4, 2), ElementsAre(FlatRange{192, 200}, FlatRange{96, 192}, FlatRange{0, 96}));
  EXPECT_THAT(CutBuckets(200, 100 * 4, 3), ElementsAre(FlatRange{192, 200}, FlatRange{96, 192}, FlatRange{0, 96}));
  EXPECT_THAT(CutBuckets(200, 0, 8), ElementsAre(FlatRange{128, 200}, FlatRange{0, 128}));
}

TEST(OwnedRangesTest, OneRankOwnsAllAsOneRange) {
  EXPECT_THAT(OwnedRanges(CutBuckets(1000, 64, 1), 1, 0), ElementsAre(FlatRange{0, 1000}));
}

TEST(OwnedRangesTest, ASliceOfEveryBucket) {
  const std::vector<FlatRange> buckets = CutBuckets(160, 64 * 4, 2);
  EXPECT_THAT(OwnedRanges(buckets, 2, 0), ElementsAre(FlatRange{0, 32}, FlatRange{64, 96}, FlatRange{128, 144}));
  EXPECT_THAT(OwnedRanges(buckets, 2, 1), ElementsAre(FlatRange{32, 64}, FlatRange{96, 128}, FlatRange{144, 160}));
}

TEST(ShareOfTest, IsTheWholeUnlessTheOptimizerIsSharded) {
  const std::vector<FlatRange> buckets = CutBuckets(160, 64 * 4, 2);
  EXPECT_THAT(ShareOf(buckets, {.shard = Shard::kNone, .rank = 1, .world = 2}), ElementsAre(FlatRange{0, 160}));
  EXPECT_EQ(ShareOf(buckets, {.shard = Shard::kOptimizer, .rank = 1, .world = 2}), OwnedRanges(buckets, 2, 1));
  EXPECT_TRUE(ShareOf(buckets, {.trains = false}).empty());
}

TEST(OwnedRangesTest, EveryElementHasOneOwnerAndSharesAreEven) {
  for (const int64_t numel : {16, 48, 4096, 100000, 99984}) {
    for (const int world : {1, 2, 3, 7, 8}) {
      for (const int64_t bytes : {1, 5000, 40000, 10000000}) {
        const std::vector<FlatRange> buckets = CutBuckets(numel, bytes, world);
        std::vector<int> owners(static_cast<size_t>(numel));
        for (int rank = 0; rank < world; ++rank) {
          const std::vector<FlatRange> owned = OwnedRanges(buckets, world, rank);
          int64_t end = -1;
          for (const FlatRange& range : owned) {
            EXPECT_GT(range.begin, end);  // joined, ascending
            end = range.end;
            for (int64_t i = range.begin; i < range.end; ++i) ++owners[static_cast<size_t>(i)];
          }
          // Only in the short bucket may a share be another than the first rank's.
          EXPECT_LE(NumelOf(OwnedRanges(buckets, world, 0)) - NumelOf(owned), buckets.front().size());
          EXPECT_GE(NumelOf(OwnedRanges(buckets, world, 0)), NumelOf(owned));
        }
        EXPECT_THAT(owners, testing::Each(1)) << numel << " " << world << " " << bytes;
      }
    }
  }
}

}  // namespace
}  // namespace tactus
