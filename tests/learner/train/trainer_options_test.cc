#include "learner/train/trainer_options.h"

#include <gtest/gtest.h>

#include <functional>
#include <set>

#include "proto/config.pb.h"

namespace tactus {
namespace {

// A value that no switch knows does not compile; one that was given another's meaning is found here.
TEST(TrainerOptionsTest, EveryEnumValueHasAMeaningOfItsOwn) {
  const auto meanings = [](const char* group, const char* field, const std::function<int(const TrainerOptions&)>& of) {
    config::RunConfig run;
    const auto* options = run.GetDescriptor()->FindFieldByName(group);
    const auto* leaf = options->message_type()->FindFieldByName(field);
    std::set<int> seen;
    for (int i = 0; i < leaf->enum_type()->value_count(); ++i) {
      auto* holder = run.GetReflection()->MutableMessage(&run, options);
      holder->GetReflection()->SetEnum(holder, leaf, leaf->enum_type()->value(i));
      seen.insert(of(TrainerOptions::FromProto(run)));
    }
    EXPECT_EQ(seen.size(), static_cast<size_t>(leaf->enum_type()->value_count())) << group << "." << field;
  };
  meanings("algorithm", "estimator", [](const TrainerOptions& o) { return static_cast<int>(o.estimator); });
  meanings("algorithm", "advantage_level", [](const TrainerOptions& o) { return static_cast<int>(o.advantage_level); });
  meanings("algorithm", "loss", [](const TrainerOptions& o) { return static_cast<int>(o.loss.loss); });
  meanings("algorithm", "aggregation", [](const TrainerOptions& o) { return static_cast<int>(o.loss.aggregation); });
  meanings("algorithm", "tis_level", [](const TrainerOptions& o) { return static_cast<int>(o.loss.tis_level); });
  meanings("algorithm", "tis_rule", [](const TrainerOptions& o) { return static_cast<int>(o.loss.tis_rule); });
  meanings("algorithm", "kl_estimator", [](const TrainerOptions& o) { return static_cast<int>(o.loss.kl_estimator); });
  meanings("credit", "sign_rule", [](const TrainerOptions& o) { return static_cast<int>(o.loss.sign_rule); });
  meanings("optimizer", "schedule", [](const TrainerOptions& o) { return static_cast<int>(o.schedule.shape); });
}

TEST(TrainerOptionsTest, EveryFieldIsTakenOver) {
  config::RunConfig run;
  run.mutable_algorithm()->set_estimator(config::AlgorithmOptions::RLOO);
  run.mutable_algorithm()->set_advantage_level(config::AlgorithmOptions::TURN);
  run.mutable_algorithm()->set_loss(config::AlgorithmOptions::CISPO);
  run.mutable_algorithm()->set_aggregation(config::AlgorithmOptions::FIXED_LENGTH);
  run.mutable_algorithm()->set_fixed_length_tokens(77);
  run.mutable_algorithm()->set_clip_low(0.1);
  run.mutable_algorithm()->set_clip_high(0.3);
  run.mutable_algorithm()->set_tis_cap(5);
  run.mutable_algorithm()->set_kl_beta(0.01);
  run.mutable_algorithm()->set_updates_per_batch(2);
  run.mutable_algorithm()->set_clip_dual(3);
  run.mutable_algorithm()->set_tis_floor(0.5);
  run.mutable_algorithm()->set_mask_overlong(true);
  run.mutable_algorithm()->set_overlong_buffer_tokens(40);
  run.mutable_algorithm()->set_overlong_penalty(0.5);
  run.mutable_rollout()->set_max_completion_tokens(300);
  run.mutable_credit()->set_sign_rule(config::CreditOptions::SIGN_V1);
  run.mutable_optimizer()->set_lr(1e-3);
  run.mutable_optimizer()->set_warmup_steps(4);
  run.mutable_optimizer()->set_schedule(config::OptimizerOptions::COSINE);
  run.mutable_optimizer()->set_min_lr_ratio(0.2);
  run.mutable_optimizer()->set_beta1(0.8);
  run.mutable_optimizer()->set_max_grad_norm(3);
  run.mutable_optimizer()->set_skip_grad_norm(7);
  run.mutable_optimizer()->set_max_skipped_updates(4);
  run.mutable_optimizer()->set_decay_steps(6);
  run.mutable_learner()->set_steps(10);
  run.mutable_learner()->set_micro_batch_tokens(512);
  run.mutable_sft()->set_steps(33);
  const TrainerOptions options = TrainerOptions::FromProto(run);
  EXPECT_EQ(options.estimator, Estimator::kRloo);
  EXPECT_EQ(options.advantage_level, AdvantageLevel::kTurn);
  EXPECT_EQ(options.loss.loss, PolicyLossKind::kCispo);
  EXPECT_EQ(options.loss.aggregation, LossAggregation::kFixedLength);
  EXPECT_EQ(options.loss.fixed_length_tokens, 77);
  EXPECT_EQ(options.loss.clip_low, 0.1);
  EXPECT_EQ(options.loss.clip_high, 0.3);
  EXPECT_EQ(options.loss.tis_cap, 5);
  EXPECT_EQ(options.loss.kl_beta, 0.01);
  EXPECT_EQ(options.shaping.kl_beta, 0);
  EXPECT_EQ(options.loss.clip_dual, 3);
  EXPECT_EQ(options.loss.tis_floor, 0.5);
  EXPECT_TRUE(options.mask_overlong);
  EXPECT_EQ(options.shaping.max_tokens, 300);
  EXPECT_EQ(options.shaping.buffer_tokens, 40);
  EXPECT_EQ(options.shaping.penalty, 0.5);
  EXPECT_EQ(options.loss.sign_rule, CreditSignRule::kV1);
  EXPECT_EQ(options.updates_per_batch, 2);
  EXPECT_EQ(options.micro_batch_tokens, 512);
  EXPECT_EQ(options.optimizer.beta1, 0.8);
  EXPECT_EQ(options.optimizer.max_grad_norm, 3);
  EXPECT_EQ(options.optimizer.skip_grad_norm, 7);
  EXPECT_EQ(options.max_skipped_updates, 4);
  EXPECT_EQ(options.schedule.decay_steps, 6);
  EXPECT_EQ(options.schedule.lr, 1e-3);
  EXPECT_EQ(options.schedule.warmup_steps, 4);
  EXPECT_EQ(options.schedule.shape, LrSchedule::Shape::kCosine);
  EXPECT_EQ(options.schedule.min_lr_ratio, 0.2);
  EXPECT_EQ(options.schedule.total_steps, 20);
  EXPECT_EQ(TrainerOptions::ForSft(run).schedule.total_steps, 33);
  EXPECT_EQ(TrainerOptions::ForSft(run).loss.kl_beta, 0);
  run.mutable_algorithm()->set_kl_place(config::AlgorithmOptions::IN_REWARD);
  EXPECT_EQ(TrainerOptions::FromProto(run).loss.kl_beta, 0);
  EXPECT_EQ(TrainerOptions::FromProto(run).shaping.kl_beta, 0.01);
  EXPECT_TRUE(TrainerOptions::FromProto(run).needs_reference());
  EXPECT_FALSE(TrainerOptions::ForSft(run).needs_reference());
}

TEST(TrainerOptionsTest, TheEntropyBonusIsTakenOver) {
  config::RunConfig run;
  EXPECT_EQ(TrainerOptions::FromProto(run).loss.entropy_coefficient, 0);
  EXPECT_FALSE(TrainerOptions::FromProto(run).loss.trains_without_signal());
  run.mutable_algorithm()->set_entropy_coefficient(0.01);
  EXPECT_EQ(TrainerOptions::FromProto(run).loss.entropy_coefficient, 0.01);
  EXPECT_TRUE(TrainerOptions::FromProto(run).loss.trains_without_signal());
}

TEST(TrainerOptionsTest, TruncatedSamplingAndNoCapAreSeen) {
  config::RunConfig run;
  run.mutable_rollout()->set_top_p(1);
  EXPECT_FALSE(TrainerOptions::FromProto(run).truncated_sampling);
  run.mutable_rollout()->set_top_k(5);
  EXPECT_TRUE(TrainerOptions::FromProto(run).truncated_sampling);
  run.mutable_rollout()->set_top_k(0);
  run.mutable_rollout()->set_top_p(0.9);
  EXPECT_TRUE(TrainerOptions::FromProto(run).truncated_sampling);
  run.mutable_algorithm()->set_tis_cap(0);
  EXPECT_FALSE(TrainerOptions::FromProto(run).loss.tis_cap.has_value());
}

}  // namespace
}  // namespace tactus
