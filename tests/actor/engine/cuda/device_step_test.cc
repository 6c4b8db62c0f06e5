#include "actor/engine/cuda/device_step.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "common/ops/step_sizes.h"

namespace tactus {
namespace {

using ::testing::ElementsAre;

const std::vector<int32_t> kFirstPages = {7}, kSecondPages = {3, 9}, kThirdPages = {1, 2, 4};

// A decode row at position 4, a recomputed sequence of 5 rows whose last one (position 17) is measured, and a prompt's
// piece of 3 rows from position 32 on with two first tokens.
StepPlan MixedPlan(double* span_sum) {
  StepPlan plan;
  plan.batch.token_ids = {10, 20, 21, 22, 23, 24, 30, 31, 32};
  plan.batch.runs = {{0, 1, 4, kFirstPages}, {1, 5, 13, kSecondPages}, {6, 3, 32, kThirdPages}};
  plan.batch.taps.resize(3);
  plan.batch.taps[1] = {.prompt_tokens = 12, .num_heads = 1, .span_sum = span_sum};
  plan.draws = {{.row = 0, .params = {}}, {.row = 5, .params = {}}, {.row = 8, .params = {}}, {.row = 8, .params = {}}};
  return plan;
}

TEST(DeviceStepTest, PutsDecodeAndMeasuredRowsFirst) {
  double span_sum = 0;
  const StepPlan plan = MixedPlan(&span_sum);
  DeviceStep step;
  PlanDeviceStep(plan, 1, 64, step);
  EXPECT_FALSE(step.recurring);
  EXPECT_THAT(step.tokens, ElementsAre(10, 24, 20, 21, 22, 23, 30, 31, 32));
  EXPECT_THAT(step.positions, ElementsAre(4, 17, 13, 14, 15, 16, 32, 33, 34));
  EXPECT_THAT(step.slots, ElementsAre(7 * 16 + 4, 9 * 16 + 1, 3 * 16 + 13, 3 * 16 + 14, 3 * 16 + 15, 9 * 16, 4 * 16,
                                      4 * 16 + 1, 4 * 16 + 2));
  EXPECT_EQ(step.decode_rows(), 2);
  EXPECT_THAT(step.contexts, ElementsAre(5, 18));
  EXPECT_THAT(step.tap_starts, ElementsAre(-1, 12));
  EXPECT_THAT(step.taps, ElementsAre(nullptr, &plan.batch.taps[1]));
  EXPECT_TRUE(step.measured);
  ASSERT_EQ(step.runs.size(), 2u);
  EXPECT_EQ(step.runs[0].first_row, 2);
  EXPECT_EQ(step.runs[0].num_rows, 4);
  EXPECT_EQ(step.runs[0].start_position, 13);
  EXPECT_EQ(step.runs[0].table, 2);
  EXPECT_EQ(step.runs[1].first_row, 6);
  EXPECT_EQ(step.runs[1].num_rows, 3);
  EXPECT_EQ(step.runs[1].table, 3);
  EXPECT_THAT(step.draw_rows, ElementsAre(0, 1, 8, 8));
  ASSERT_EQ(step.table_pages, 16);
  ASSERT_EQ(step.page_tables.size(), 4u * 16);
  for (const auto& [row, pages] : {std::pair(0, kFirstPages), {1, kSecondPages}, {2, kSecondPages}, {3, kThirdPages}}) {
    std::vector<int32_t> expected = pages;
    expected.resize(16);
    const auto begin = step.page_tables.begin() + int64_t{row} * 16;
    EXPECT_EQ(std::vector<int32_t>(begin, begin + 16), expected);
  }
}

TEST(DeviceStepTest, PadsAStepOfDecodeRowsWithRowsThatTouchNothing) {
  StepPlan plan;
  plan.batch.token_ids = {10, 11, 12};
  plan.batch.runs = {{0, 1, 4, kFirstPages}, {1, 1, 20, kSecondPages}, {2, 1, 33, kThirdPages}};
  plan.draws = {{.row = 0, .params = {}}, {.row = 2, .params = {}}};
  DeviceStep step;
  PlanDeviceStep(plan, 1, 64, step);
  EXPECT_TRUE(step.recurring);
  EXPECT_FALSE(step.measured);
  EXPECT_THAT(step.tokens, ElementsAre(10, 11, 12, 0));
  EXPECT_THAT(step.slots, ElementsAre(116, 148, 65, -1));
  EXPECT_THAT(step.contexts, ElementsAre(5, 21, 34, 0));
  EXPECT_THAT(step.tap_starts, ElementsAre(-1, -1, -1, -1));
  EXPECT_EQ(step.page_tables.size(), 4u * 16);
  EXPECT_THAT(step.draw_rows, ElementsAre(0, 2));

  PlanDeviceStep(plan, 1, 3, step);  // the largest bucket is the most that can run
  EXPECT_EQ(step.rows(), 3);
  PlanDeviceStep(plan, 8, 64, step);
  EXPECT_EQ(step.rows(), 8);
  plan.draws = {{.row = 0, .params = {}}, {.row = 0, .params = {}}};  // a prompt's last row gave two first tokens
  PlanDeviceStep(plan, 1, 64, step);
  EXPECT_FALSE(step.recurring);
  EXPECT_EQ(step.rows(), 3);
}

TEST(DeviceStepTest, ReadsAMeasuredRowAsTheSameDecodeRowAfterAPreemption) {
  double span_sum = 0;
  const ops::AttentionTap tap{.prompt_tokens = 12, .num_heads = 1, .span_sum = &span_sum};
  StepPlan recomputed = MixedPlan(&span_sum), decoded;
  decoded.batch.token_ids = {24};
  decoded.batch.runs = {{0, 1, 17, kSecondPages}};
  decoded.batch.taps = {tap};
  DeviceStep first, second;
  PlanDeviceStep(recomputed, 1, 64, first);
  PlanDeviceStep(decoded, 1, 64, second);
  EXPECT_EQ(first.tokens[1], second.tokens[0]);
  EXPECT_EQ(first.positions[1], second.positions[0]);
  EXPECT_EQ(first.slots[1], second.slots[0]);
  EXPECT_EQ(first.contexts[1], second.contexts[0]);
  EXPECT_EQ(first.tap_starts[1], second.tap_starts[0]);
}

TEST(DeviceStepTest, Buckets) {
  std::vector<int64_t> buckets;
  for (int64_t rows = 1; rows <= 256; ++rows) {
    const int64_t bucket = ops::RowBucket(rows, 256);
    EXPECT_GE(bucket, rows);
    if (buckets.empty() || buckets.back() != bucket) buckets.push_back(bucket);
  }
  EXPECT_THAT(buckets, ElementsAre(1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256));
  EXPECT_EQ(ops::RowBucket(33, 40), 40);
  EXPECT_EQ(ops::RowBucket(33, 20), 48);
  EXPECT_EQ(ops::PageBucket(1), 16);
  EXPECT_EQ(ops::PageBucket(16), 16);
  EXPECT_EQ(ops::PageBucket(17), 32);
}

TEST(DeviceStepTest, CopiesThatTouchEachOtherKeepTheirOrder) {
  using Copies = std::vector<PageCopy>;
  EXPECT_TRUE(IndependentCopies({}).empty());
  EXPECT_THAT(IndependentCopies(Copies{{1, 2}, {1, 3}, {4, 5}}), ElementsAre(3));
  EXPECT_THAT(IndependentCopies(Copies{{1, 2}, {2, 3}}), ElementsAre(1, 2));          // reads what was written
  EXPECT_THAT(IndependentCopies(Copies{{1, 2}, {3, 1}}), ElementsAre(1, 2));          // writes what was read
  EXPECT_THAT(IndependentCopies(Copies{{1, 2}, {3, 2}, {4, 5}}), ElementsAre(1, 3));  // writes it again
}

}  // namespace
}  // namespace tactus
