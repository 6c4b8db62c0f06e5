#include "common/metrics/metric_set.h"

#include <cmath>
#include <limits>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tactus {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(MetricSetTest, ClosedLabelsStartAtZeroAndRolesAreApart) {
  MetricSet learner({.role = ProcessRole::kLearner, .task = "countdown", .run_id = "r"});
  const std::string text = learner.Text();
  EXPECT_THAT(text, HasSubstr("tactus_trajectories_rejected_total{reason=\"expired\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("tactus_groups_total{env=\"countdown\",kind=\"all_fail\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("run=\"r\""));
  EXPECT_THAT(text, Not(HasSubstr("tactus_actor_tokens_total")));
  MetricSet actor({.role = ProcessRole::kActor, .task = "countdown", .run_id = "r"});
  EXPECT_THAT(actor.Text(), HasSubstr("tactus_actor_tokens_total{kind=\"completion\"} 0\n"));
  EXPECT_THAT(actor.Text(), Not(HasSubstr("tactus_learner_step_")));
}

TEST(MetricSetTest, BadUpdatesNeverReachASeries) {
  MetricSet metrics({.role = ProcessRole::kLearner, .task = "t", .run_id = "r"});
  metrics.Set(Metric::kQueueDepth, 0.5);
  metrics.Set(Metric::kQueueDepth, std::numeric_limits<double>::quiet_NaN());
  metrics.Add(Metric::kCheckpoints, 2, "written");
  metrics.Add(Metric::kCheckpoints, -1, "written");
  metrics.Add(Metric::kCheckpoints, std::numeric_limits<double>::infinity(), "written");
  metrics.Add(Metric::kCheckpoints, 1, "lost");     // no such value
  metrics.Add(Metric::kActorTokens, 1, "prompt");   // another role's
  metrics.Set(Metric::kCheckpoints, 1, "written");  // not a gauge
  metrics.Set(Metric::kQueueDepth, 1, "policy");    // has no label
  metrics.Observe(Metric::kLearnerStepDuration, std::nan(""));
  const std::string text = metrics.Text();
  EXPECT_THAT(text, HasSubstr("\ntactus_trajectory_queue_depth 0.5\n"));
  EXPECT_THAT(text, HasSubstr("tactus_checkpoints_total{outcome=\"written\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("tactus_learner_step_duration_seconds_count 0\n"));
  EXPECT_THAT(text, HasSubstr("\ntactus_nonfinite_values_total{where=\"metric\"} 3\n"));
  EXPECT_THAT(text, HasSubstr("\ntactus_metric_updates_rejected_total 5\n"));
}

TEST(MetricSetTest, ACounterMayHaveAnOpenLabelToo) {
  MetricSet metrics({.role = ProcessRole::kLearner, .task = "t", .run_id = "r"});
  metrics.AddOf(Metric::kSourceGroups, "gsm8k", 0, "all_pass");
  metrics.AddOf(Metric::kSourceGroups, "gsm8k", 2, "all_fail");
  metrics.AddOf(Metric::kSourceGroups, "gsm8k", 1, "all_fail");
  metrics.AddOf(Metric::kSourceGroups, "gsm8k", -1, "all_fail");
  metrics.AddOf(Metric::kSourceReward, "gsm8k", 1, "total");  // a gauge
  metrics.SetOf(Metric::kSourceGroups, "gsm8k", 1, "all_fail");
  const std::string text = metrics.Text();
  EXPECT_THAT(text, HasSubstr("tactus_source_groups_total{env=\"t\",kind=\"all_pass\",source=\"gsm8k\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("tactus_source_groups_total{env=\"t\",kind=\"all_fail\",source=\"gsm8k\"} 3\n"));
  EXPECT_THAT(text, Not(HasSubstr("tactus_source_reward_mean{")));
  EXPECT_THAT(text, HasSubstr("\ntactus_metric_updates_rejected_total 3\n"));
}

TEST(MetricSetTest, AnOpenLabelsSeriesExistsOnceItIsSet) {
  MetricSet metrics({.role = ProcessRole::kLearner, .task = "t", .run_id = "r"});
  EXPECT_THAT(metrics.Text(), Not(HasSubstr("tactus_eval_set_score_ratio")));
  metrics.SetOf(Metric::kEvalSetScore, "hard", 0.25, "pass_1");
  metrics.SetOf(Metric::kEvalSetScore, "hard", 0.5, "pass_1");
  metrics.SetOf(Metric::kEvalSetScore, "greedy", 0.125, "pass_k_high");
  metrics.SetOf(Metric::kEvalSetScore, "hard", std::nan(""), "pass_1");
  metrics.SetOf(Metric::kEvalSetScore, "hard", 1, "pass_2");  // no such value
  metrics.SetOf(Metric::kEvalRounds, "hard", 1, "measured");  // has no open label
  metrics.Set(Metric::kEvalSetScore, 1, "pass_1");            // has one
  const std::string text = metrics.Text();
  EXPECT_THAT(text, HasSubstr("tactus_eval_set_score_ratio{env=\"t\",score=\"pass_1\",set=\"hard\"} 0.5\n"));
  EXPECT_THAT(text, HasSubstr("tactus_eval_set_score_ratio{env=\"t\",score=\"pass_k_high\",set=\"greedy\"} 0.125\n"));
  EXPECT_THAT(text, HasSubstr("\ntactus_nonfinite_values_total{where=\"metric\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("\ntactus_metric_updates_rejected_total 3\n"));
  MetricSet actor({.role = ProcessRole::kActor, .task = "t", .run_id = "r"});
  actor.SetOf(Metric::kEvalSetScore, "hard", 0.25, "pass_1");
  EXPECT_THAT(actor.Text(), HasSubstr("\ntactus_metric_updates_rejected_total 1\n"));
}

TEST(MetricSetTest, AStepsNumberHasNoSampleBeforeItIsMeasuredAndKeepsTheLast) {
  MetricSet metrics({.role = ProcessRole::kLearner, .task = "t", .run_id = "r"});
  StepRecord record;
  record.eval_pass1 = 0.25;
  metrics.SetStep(record);
  EXPECT_THAT(metrics.Text(), HasSubstr("\ntactus_eval_pass_ratio{env=\"t\",k=\"1\"} 0.25\n"));
  EXPECT_THAT(metrics.Text(), Not(HasSubstr("tactus_gradient_norm")));
  EXPECT_THAT(metrics.Text(), Not(HasSubstr("tactus_policy_kl_nats")));
  record.eval_pass1 = kAbsent;
  record.grad_norm = 0.5;
  record.loss = std::numeric_limits<double>::infinity();
  metrics.SetStep(record);
  EXPECT_THAT(metrics.Text(), HasSubstr("\ntactus_eval_pass_ratio{env=\"t\",k=\"1\"} 0.25\n"));
  EXPECT_THAT(metrics.Text(), HasSubstr("\ntactus_gradient_norm 0.5\n"));
  EXPECT_THAT(metrics.Text(), Not(HasSubstr("tactus_loss")));
  EXPECT_THAT(metrics.Text(), HasSubstr("\ntactus_nonfinite_values_total{where=\"metric\"} 0\n"));
}

TEST(MetricSetTest, UpdatesFromManyThreadsAddUp) {
  MetricSet metrics({.role = ProcessRole::kLearner, .task = "t", .run_id = "r"});
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&metrics] {
      for (int n = 0; n < 1000; ++n) metrics.Add(Metric::kLearnerTokens, 1, "prompt");
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(metrics.Text(), HasSubstr("tactus_learner_tokens_total{kind=\"prompt\"} 4000\n"));
}

}  // namespace
}  // namespace tactus
