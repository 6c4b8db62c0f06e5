#include "learner/records/run_recorder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "tests/learner/records/audited_batch.h"
#include "tests/tree.h"

namespace tactus {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class RunRecorderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::remove_all(folder_.root);
    std::filesystem::create_directories(folder_.root);
  }

  absl::Status Record(int64_t step, const std::vector<TrajectoryGroup>& groups) {
    if (recorder_ == nullptr) {
      auto opened = RunRecorder::Open(folder_, step - 1, SummaryOptions(), tokenizer_.get(), &metrics_);
      if (!opened.ok()) return opened.status();
      recorder_ = *std::move(opened);
    }
    StepContext context;
    context.step = step;
    context.before = {1, 7};
    context.version = {1, 8};
    context.step_time_s = 2;
    context.weight_bytes_sent = static_cast<uint64_t>(1000 * step);
    StepRecord stats;
    stats.updates = 3;
    stats.skipped_updates = 1;
    stats.loss = 0.75;
    stats.loss_kl = 0.25;
    stats.loss_policy = 0.5;
    stats.prompt_tokens = 10;
    stats.completion_tokens = 30;
    stats.clip_low_fraction = 0.125;
    stats.clip_high_fraction = 0.5;
    stats.advantage_min = -1.5;
    stats.tis_max = 1.75;
    stats.phase_forward_s = 0.5;
    stats.phase_backward_s = stats.phase_allreduce_s = stats.phase_optimizer_s = 0;
    context.parameters = 100;
    return recorder_->Record(context, stats, groups);
  }

  const RunFolder folder_{::testing::TempDir() + "/run_recorder_test"};
  const std::unique_ptr<Tokenizer> tokenizer_ =
      Tokenizer::FromFile(SourcePath("tests/goldens/tokenizer/smol.json")).value();
  MetricSet metrics_{{.role = ProcessRole::kLearner, .task = "t", .run_id = "r"}};
  std::unique_ptr<RunRecorder> recorder_;
};

TEST_F(RunRecorderTest, SamplesPreferAuditedGroupsAndKeepWhatARecomputationNeeds) {
  ASSERT_TRUE(Record(1, AuditedBatch()).ok());
  const auto samples = ReadSamples(folder_.samples(), 10, 10);
  ASSERT_TRUE(samples.ok()) << samples.status();
  ASSERT_EQ(samples->size(), 2u);
  const SampleRecord& sample = samples->front();
  EXPECT_EQ(sample.prompt_id, 1u);
  EXPECT_EQ(sample.prompt_ids, (std::vector<int32_t>{6, 7}));
  EXPECT_EQ(sample.token_ids, std::vector<int32_t>(6, 5));
  EXPECT_EQ(sample.versions, (std::vector<SampleSpan>{{0, "1.4"}}));
  EXPECT_EQ(sample.entropy[2], 2.0);
  EXPECT_EQ(sample.waad, (std::vector<double>{0, 4, 1, 1, 6, 2}));
  EXPECT_EQ(sample.fai[1], 0.4F);
  EXPECT_EQ(sample.layers, (std::vector<int32_t>{2, 4}));
  EXPECT_EQ(sample.span, (std::vector<double>{3, 1}));
  EXPECT_EQ(sample.local_heads, (std::vector<int32_t>{1}));
  EXPECT_EQ(sample.global_heads, (std::vector<int32_t>{0}));
  EXPECT_EQ((*samples)[1].prompt_id, 2u);
  EXPECT_EQ((*samples)[1].versions, (std::vector<SampleSpan>{{0, "1.5"}, {1, "1.6"}}));
}

TEST_F(RunRecorderTest, SamplesOfAConversationSayWhichTokensAreTheModels) {
  ASSERT_TRUE(Record(1, AuditedConversation()).ok());
  const auto samples = ReadSamples(folder_.samples(), 10, 10);
  ASSERT_TRUE(samples.ok()) << samples.status();
  ASSERT_EQ(samples->front().prompt_id, 1u);
  EXPECT_EQ(samples->front().sampled, (std::vector<int32_t>{0, 1, 2, 4, 5, 6}));
  EXPECT_EQ(samples->front().waad, (std::vector<double>{0, 4, 1, 0, 1, 6, 2}));
  EXPECT_TRUE((*samples)[1].sampled.empty()) << "all of it is the model's";
}

TEST_F(RunRecorderTest, WithoutAnAuditTheFirstGroupsAreKept) {
  std::vector<TrajectoryGroup> groups = AuditedBatch();
  for (TrajectoryGroup& group : groups) group.completions[0].rhythm.reset();
  ASSERT_TRUE(Record(1, groups).ok());
  const auto samples = ReadSamples(folder_.samples(), 10, 10);
  ASSERT_EQ(samples.value().size(), 2u);
  EXPECT_EQ(samples->front().prompt_id, 0u);
  EXPECT_TRUE(samples->front().waad.empty());
  for (const char* absent : {"tactus_rhythm_waad_tokens", "tactus_policy_kl_nats", "tactus_eval_pass_ratio"}) {
    EXPECT_THAT(metrics_.Text(), Not(HasSubstr(absent))) << "not measured: no sample";
  }
  EXPECT_THAT(metrics_.Text(), HasSubstr("\ntactus_metric_updates_rejected_total 0\n"));
  EXPECT_THAT(metrics_.Text(), HasSubstr("\ntactus_nonfinite_values_total{where=\"metric\"} 0\n"));
  ASSERT_TRUE(Record(2, AuditedBatch()).ok());
  ASSERT_TRUE(Record(3, groups).ok());
  EXPECT_THAT(metrics_.Text(), HasSubstr("tactus_rhythm_waad_tokens{stat=\"p50\"} 1.5\n"))
      << "the last that was audited";
}

TEST_F(RunRecorderTest, MetricsShowTheStepsAndTheRhythm) {
  std::vector<TrajectoryGroup> groups = AuditedBatch();
  groups[0].completions[0].reward = {.reason = kUndecodableReason};
  ASSERT_TRUE(Record(1, groups).ok());
  ASSERT_TRUE(Record(2, groups).ok());
  const std::string text = metrics_.Text();
  for (const char* line : {"tactus_credit_mean 1.125",
                           "tactus_credit_amplified_ratio{strategy=\"applied\"} 0.25",
                           "tactus_credit_amplified_ratio{strategy=\"coupled\"} 0.375",
                           "tactus_credit_overlap_ratio{pair=\"coupled_entropy\"} 0.2",
                           "tactus_credit_lag_versions{stat=\"mean\"} 2.5",
                           "tactus_credit_lag_versions{stat=\"max\"} 5",
                           "tactus_rhythm_completions_total 4",
                           "tactus_rhythm_waad_tokens{stat=\"p50\"} 1.5",
                           "tactus_rhythm_fai_ratio{stat=\"mean\"} 0.25",
                           "tactus_rhythm_peak_entropy_correlation 0.2156",
                           "tactus_weight_transfer_bytes_total 2000",
                           "tactus_loss{term=\"policy\"} 0.5",
                           "tactus_loss{term=\"kl\"} 0.25",
                           "tactus_loss{term=\"total\"} 0.75",
                           "tactus_learner_tokens_total{kind=\"completion\"} 60",
                           "tactus_learner_model_flops_total 48000",
                           "tactus_clip_ratio{side=\"low\"} 0.125",
                           "tactus_clip_ratio{side=\"high\"} 0.5",
                           "tactus_advantage{stat=\"min\"} -1.5",
                           "tactus_importance_weight{stat=\"max\"} 1.75",
                           "tactus_learner_phase_seconds_total{phase=\"forward\",rank=\"0\"} 1",
                           "tactus_trajectory_verdicts_total{env=\"t\",verdict=\"error\"} 2",
                           "tactus_trajectory_staleness_versions_bucket{le=\"2\"}",
                           "tactus_nonfinite_values_total{where=\"gradient\"} 2",
                           "tactus_nonfinite_values_total{where=\"loss\"} 0",
                           "tactus_metric_updates_rejected_total 0"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
  const auto steps = ReadSteps(folder_.metrics());
  ASSERT_EQ(steps.value().size(), 2u);
  EXPECT_DOUBLE_EQ(steps->back().overlap_coupled_entropy, 0.2);
}

TEST_F(RunRecorderTest, EachSourceHasItsNumbers) {
  ASSERT_TRUE(Record(1, AuditedBatch()).ok());
  EXPECT_TRUE(ReadSteps(folder_.metrics())->back().sources.empty());
  std::vector<TrajectoryGroup> groups = AuditedBatch();  // each of one right answer
  groups[0].completions.push_back(groups[0].completions[0]);
  groups[0].completions[1].reward = {.total = 0.25, .correct = 0, .format = 0.25, .reason = "wrong"};
  groups[2].completions[0].reward = {.total = -0.5, .correct = 0, .format = 0, .reason = "wrong"};
  StepContext context;
  context.step = 2;
  context.step_time_s = 1;
  context.sources = {"sums", "puzzles", "sums"};
  ASSERT_TRUE(recorder_->Record(context, StepRecord(), groups).ok());
  const StepRecord step = ReadSteps(folder_.metrics())->back();
  ASSERT_EQ(step.sources.size(), 2u);
  EXPECT_EQ(step.sources[0], (SourceStep{.name = "puzzles", .groups = 1, .reward_mean = 1, .correct_rate = 1}));
  EXPECT_EQ(step.sources[1],
            (SourceStep{.name = "sums", .groups = 2, .reward_mean = (1 + 0.25 - 0.5) / 3, .correct_rate = 1 / 3.0}));
  for (const char* line : {"tactus_source_groups_total{env=\"t\",kind=\"informative\",source=\"sums\"} 1\n",
                           "tactus_source_groups_total{env=\"t\",kind=\"all_fail\",source=\"sums\"} 1\n",
                           "tactus_source_groups_total{env=\"t\",kind=\"all_pass\",source=\"puzzles\"} 1\n",
                           "tactus_source_reward_mean{component=\"total\",env=\"t\",source=\"sums\"} 0.25\n",
                           "tactus_source_reward_mean{component=\"correct\",env=\"t\",source=\"puzzles\"} 1\n",
                           "tactus_metric_updates_rejected_total 0\n"}) {
    EXPECT_THAT(metrics_.Text(), HasSubstr(line));
  }
  const auto samples = ReadSamples(folder_.samples(), 10, 10).value();
  EXPECT_EQ(samples.front().source, "") << "of step 1";
  EXPECT_EQ(samples[samples.size() - 2].source, "puzzles") << "audited groups come first";
  EXPECT_EQ(samples.back().source, "sums");
  std::string events;
  for (const auto& file : std::filesystem::directory_iterator(folder_.tensorboard())) {
    events += ReadFile(file.path()).value();
  }
  EXPECT_THAT(events, HasSubstr("source_puzzles/reward_mean"));
}

TEST_F(RunRecorderTest, WhatWasMeasuredBeforeTheRunIsInItsFirstStep) {
  ASSERT_TRUE(AppendHeldOut(folder_.held_out(), {.step = 0, .pass1 = 0.25, .low = 0.2, .high = 0.3}).ok());
  ASSERT_TRUE(Record(1, AuditedBatch()).ok());
  ASSERT_TRUE(Record(2, AuditedBatch()).ok());
  const auto steps = ReadSteps(folder_.metrics());
  ASSERT_EQ(steps.value().size(), 2u);
  EXPECT_EQ(steps->front().eval_pass1, 0.25);
  EXPECT_TRUE(std::isnan(steps->back().eval_pass1));
  EXPECT_THAT(metrics_.Text(), HasSubstr("tactus_eval_pass_ratio{env=\"t\",k=\"1\"} 0.25\n"));
  EXPECT_THAT(metrics_.Text(),
              HasSubstr("tactus_eval_set_score_ratio{env=\"t\",score=\"pass_1_high\",set=\"test\"} 0.3\n"));
}

TEST_F(RunRecorderTest, EverySetHasItsIntervalsAndTheFirstAloneIsInTheSteps) {
  ASSERT_TRUE(Record(1, AuditedBatch()).ok());
  HeldOutRecord hard{.step = 1, .pass1 = 0.125, .low = 0.0625, .high = 0.25, .samples = 4, .version = "1.1"};
  hard.pass_k = 0.5;
  hard.pass_k_low = 0.375;
  hard.pass_k_high = 0.625;
  hard.set = "hard";
  EXPECT_THAT(metrics_.Text(), Not(HasSubstr("tactus_eval_set_score_ratio{"))) << "not measured: no sample";
  ASSERT_TRUE(recorder_->RecordHeldOut(hard).ok());
  for (const char* line : {"score=\"pass_1\",set=\"hard\"} 0.125", "score=\"pass_1_low\",set=\"hard\"} 0.0625",
                           "score=\"pass_1_high\",set=\"hard\"} 0.25", "score=\"pass_k\",set=\"hard\"} 0.5",
                           "score=\"pass_k_low\",set=\"hard\"} 0.375", "score=\"pass_k_high\",set=\"hard\"} 0.625"}) {
    EXPECT_THAT(metrics_.Text(), HasSubstr(absl::StrCat("tactus_eval_set_score_ratio{env=\"t\",", line, "\n")));
  }
  EXPECT_THAT(metrics_.Text(), Not(HasSubstr("tactus_eval_pass_ratio{")));
  EXPECT_THAT(metrics_.Text(), HasSubstr("tactus_metric_updates_rejected_total 0\n"));
  ASSERT_TRUE(Record(2, AuditedBatch()).ok());
  EXPECT_TRUE(std::isnan(ReadSteps(folder_.metrics())->back().eval_pass1));
  EXPECT_EQ(ReadHeldOutSets(folder_.held_out()).value(), std::vector{hard});
  std::string events;
  for (const auto& file : std::filesystem::directory_iterator(folder_.tensorboard())) {
    events += ReadFile(file.path()).value();
  }
  EXPECT_THAT(events, HasSubstr("eval_hard/pass_k_low"));
  EXPECT_THAT(events, Not(HasSubstr("eval/pass1")));
}

TEST_F(RunRecorderTest, PromptsThatArePassedOverAreToldWhereTheyMayBe) {
  ASSERT_TRUE(Record(1, AuditedBatch()).ok());
  EXPECT_TRUE(std::isnan(ReadSteps(folder_.metrics())->back().prompts_passed_over));
  StepContext context;
  context.step = 2;
  context.step_time_s = 1;
  context.prompts = PromptTally{.never_share = 0.25, .always_share = 0.5, .passed_over = 7};
  ASSERT_TRUE(recorder_->Record(context, StepRecord(), AuditedBatch()).ok());
  const StepRecord step = ReadSteps(folder_.metrics())->back();
  EXPECT_EQ(step.prompts_never_solved_share, 0.25);
  EXPECT_EQ(step.prompts_always_solved_share, 0.5);
  EXPECT_EQ(step.prompts_passed_over, 7);
  EXPECT_THAT(metrics_.Text(), HasSubstr("tactus_prompts_solved_ratio{how_often=\"always\"} 0.5\n"));
}

}  // namespace
}  // namespace tactus
