#include "learner/train/gradient_buckets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace tactus {
namespace {

using ::testing::ElementsAre;

// Parameters of 10, 3, 20 and 1 floats, each followed by padding up to a multiple of 4.
ParameterLayout Layout() {
  ParameterLayout layout;
  for (const int64_t numel : {10, 3, 20, 1}) {
    layout.specs.push_back({.name = "p", .shape = {numel}, .offset = layout.total_numel, .numel = numel});
    layout.total_numel += (numel + 3) / 4 * 4;
  }
  return layout;
}

TEST(GradientBucketsTest, OneBucketWhenAllFits) {
  EXPECT_THAT(CutGradientBuckets(Layout(), 40 * 4), ElementsAre(GradientBucket{0, 40}));
  EXPECT_THAT(CutGradientBuckets(Layout(), 1 << 30), ElementsAre(GradientBucket{0, 40}));
}

TEST(GradientBucketsTest, CutsAtParametersFromTheEnd) {
  EXPECT_THAT(CutGradientBuckets(Layout(), 24 * 4), ElementsAre(GradientBucket{16, 40}, GradientBucket{0, 16}));
  EXPECT_THAT(CutGradientBuckets(Layout(), 28 * 4 - 1), ElementsAre(GradientBucket{16, 40}, GradientBucket{0, 16}));
  EXPECT_THAT(CutGradientBuckets(Layout(), 28 * 4), ElementsAre(GradientBucket{12, 40}, GradientBucket{0, 12}));
}

TEST(GradientBucketsTest, AParameterIsNeverCut) {
  for (const int64_t bytes : {0, 1, 4, 16}) {
    EXPECT_THAT(CutGradientBuckets(Layout(), bytes), ElementsAre(GradientBucket{36, 40}, GradientBucket{16, 36},
                                                                 GradientBucket{12, 16}, GradientBucket{0, 12}))
        << bytes;
  }
}

TEST(GradientBucketsTest, EveryElementIsInOneBucketOfAModelsLayout) {
  ModelConfig config;
  config.vocab_size = 501;
  config.hidden_size = 24;
  config.num_layers = 3;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 6;
  config.intermediate_size = 50;
  config.qk_norm = true;
  const ParameterLayout layout = MakeParameterLayout(config);
  for (const int64_t bytes : {1, 5000, 40000, 10000000}) {
    std::vector<int> covered(static_cast<size_t>(layout.total_numel));
    int64_t expected_end = layout.total_numel;
    for (const GradientBucket& bucket : CutGradientBuckets(layout, bytes)) {
      EXPECT_EQ(bucket.end, expected_end);  // without gaps, backwards
      expected_end = bucket.begin;
      for (int64_t i = bucket.begin; i < bucket.end; ++i) ++covered[static_cast<size_t>(i)];
    }
    EXPECT_THAT(covered, testing::Each(1)) << bytes;
  }
}

TEST(GradientBucketsTest, NothingOfNothing) { EXPECT_TRUE(CutGradientBuckets({}, 100).empty()); }

}  // namespace
}  // namespace tactus
