#include "learner/records/rhythm_summary.h"

#include <gtest/gtest.h>

#include <cmath>

#include "common/config/run_config.h"
#include "proto/config.pb.h"
#include "tests/learner/records/audited_batch.h"

namespace tactus {
namespace {

constexpr double kFloat = 1e-6;  // the record holds float32
constexpr PolicyVersion kBefore = {1, 7};

// The completion of 6 tokens, Delta = {4, 3, 0, 5, 4, 0}, positions 0 to 3 eligible, two to choose:
//   LOCAL_CHUNK {0, 3}   GLOBAL_ANCHOR {1, 2}   ENTROPY {2, 4}
//   COUPLED {0, 1, 2}: 2 is dominated (WAAD 1 <= the median 1.5; Delta_0 = 4 >= the 0.6 quantile 4), so 0 introduced
//   it; 1 is not (WAAD 4)
// The completion of 2 tokens, none eligible, one to choose: LOCAL_CHUNK {0}, ENTROPY {1}.
TEST(RhythmSummaryTest, ChosenTokensAndTheirOverlap) {
  StepRecord record;
  FillRhythmSummary(AuditedBatch(), kBefore, SummaryOptions(), &record);
  EXPECT_EQ(record.audited_completions, 2);
  EXPECT_DOUBLE_EQ(record.credit_local_chunk_share, 3.0 / 8);
  EXPECT_DOUBLE_EQ(record.credit_global_anchor_share, 2.0 / 8);
  EXPECT_DOUBLE_EQ(record.credit_coupled_share, 3.0 / 8);
  EXPECT_DOUBLE_EQ(record.credit_entropy_share, 3.0 / 8);
  EXPECT_DOUBLE_EQ(record.overlap_local_global, 0);
  EXPECT_DOUBLE_EQ(record.overlap_coupled_entropy, 1.0 / 5);
  EXPECT_DOUBLE_EQ(record.overlap_global_entropy, 1.0 / 4);
  EXPECT_DOUBLE_EQ(record.overlap_local_entropy, 0);
}

TEST(RhythmSummaryTest, DistributionsOfTheMetrics) {
  StepRecord record;
  FillRhythmSummary(AuditedBatch(), kBefore, SummaryOptions(), &record);
  EXPECT_DOUBLE_EQ(record.waad_mean, 18.0 / 8);  // of 0 1 1 1 2 3 4 6
  EXPECT_NEAR(record.waad_p10, 0.7, kFloat);
  EXPECT_NEAR(record.waad_p50, 1.5, kFloat);
  EXPECT_NEAR(record.waad_p90, 4.6, kFloat);
  EXPECT_NEAR(record.fai_mean, 0.25, kFloat);  // of 0.1 0.2 0.3 0.4
  EXPECT_NEAR(record.fai_p10, 0.13, kFloat);
  EXPECT_NEAR(record.fai_p50, 0.25, kFloat);
  EXPECT_NEAR(record.fai_p90, 0.37, kFloat);
  // One peak, the 6 above the 0.8 quantile 4; the completion of 2 tokens cannot have one and has no correlation.
  // (1 - 4.1 / 6) / sqrt(5 / 6 * (5.39 - 4.1 * 4.1 / 6))
  EXPECT_NEAR(record.waad_peak_entropy_corr, 0.2156168, kFloat);
}

// Rows of the first: 2 by version 2, 2 by 7; of the second: 6 by 4; of the third: both by 6, as the pass that sampled
// token 1 read token 0.
TEST(RhythmSummaryTest, TheAgeOfGammaIsThatOfTheRows) {
  StepRecord record;
  FillRhythmSummary(AuditedBatch(), kBefore, SummaryOptions(), &record);
  EXPECT_DOUBLE_EQ(record.gamma_version_lag_mean, (2 * 5 + 2 * 0 + 6 * 3 + 2 * 1) / 12.0);
  EXPECT_DOUBLE_EQ(record.gamma_version_lag_max, 5);
}

// A token of the environment's in the middle of the longer one: nothing that is counted is any different.
TEST(RhythmSummaryTest, OthersTokensDoNotCount) {
  StepRecord plain, conversation;
  FillRhythmSummary(AuditedBatch(), kBefore, SummaryOptions(), &plain);
  FillRhythmSummary(AuditedConversation(), kBefore, SummaryOptions(), &conversation);
  for (const StepField& field : StepFields()) {
    const double was = plain.*field.member, is = conversation.*field.member;
    EXPECT_TRUE(was == is || (std::isnan(was) && std::isnan(is))) << field.key << ": " << was << ", " << is;
  }
}

TEST(RhythmSummaryTest, WithoutAnAuditOnlyTheAgeIsKnown) {
  std::vector<TrajectoryGroup> groups = AuditedBatch();
  for (TrajectoryGroup& group : groups) group.completions[0].rhythm.reset();
  StepRecord record;
  FillRhythmSummary(groups, kBefore, SummaryOptions(), &record);
  EXPECT_EQ(record.audited_completions, 0);
  EXPECT_DOUBLE_EQ(record.gamma_version_lag_mean, 2.5);
  for (const StepField& field : StepFields()) {
    const std::string key = field.key;
    const bool of_audit = key.starts_with("overlap_") || key.starts_with("waad_") || key.starts_with("fai_") ||
                          (key.starts_with("credit_") && key.ends_with("_share") && key != "credit_amplified_share");
    EXPECT_TRUE(!of_audit || std::isnan(record.*field.member)) << key;
  }
  StepRecord empty, uniform;
  FillRhythmSummary({}, kBefore, SummaryOptions(), &empty);
  EXPECT_TRUE(std::isnan(empty.gamma_version_lag_mean)) << "nothing has an age";
  RhythmSummaryOptions options = SummaryOptions();
  options.reads_model = false;
  FillRhythmSummary(groups, kBefore, options, &uniform);
  EXPECT_TRUE(std::isnan(uniform.gamma_version_lag_mean)) << "no weights stand behind \u03b3";
  EXPECT_TRUE(std::isnan(uniform.gamma_version_lag_max));
}

TEST(RhythmSummaryTest, OptionsComeFromTheConfiguration) {
  const auto run = config::ParseRunConfig(
      "model { path: \"m\" } task { name: \"countdown\" }", "test",
      {"service.plaintext=true", "credit.strategy=ENTROPY", "credit.q=0.25", "credit.horizon_min_tokens=7",
       "credit.amplification=0.5", "credit.lookback_tokens=2", "credit.waad_quantile=0.75"});
  ASSERT_TRUE(run.ok()) << run.status();
  const auto options = RhythmSummaryOptions::FromProto(run->credit());
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->rhythm.horizon_min_tokens, 7);
  EXPECT_EQ(options->credit.q.FloorOf(100), 25);
  EXPECT_EQ(options->credit.waad_quantile.FloorOf(100), 75);
  EXPECT_EQ(options->credit.lookback_tokens, 2);
  EXPECT_GT(options->credit.amplification, 1) << "or nothing would count as chosen";
  EXPECT_TRUE(options->reads_model);
  config::CreditOptions uniform = run->credit();
  uniform.set_strategy(config::CreditOptions::UNIFORM);
  EXPECT_FALSE(RhythmSummaryOptions::FromProto(uniform)->reads_model);
}

}  // namespace
}  // namespace tactus
