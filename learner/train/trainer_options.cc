#include "learner/train/trainer_options.h"

namespace tactus {
namespace {

using Algorithm = config::AlgorithmOptions;

Estimator EstimatorOf(Algorithm::Estimator estimator) {
  switch (estimator) {
    case Algorithm::DR_GRPO:
      return Estimator::kDrGrpo;
    case Algorithm::RLOO:
      return Estimator::kRloo;
    default:
      return Estimator::kGrpo;
  }
}

PolicyLossKind LossOf(Algorithm::Loss loss) {
  switch (loss) {
    case Algorithm::GSPO:
      return PolicyLossKind::kGspo;
    case Algorithm::CISPO:
      return PolicyLossKind::kCispo;
    default:
      return PolicyLossKind::kClip;
  }
}

LossAggregation AggregationOf(Algorithm::Aggregation aggregation) {
  switch (aggregation) {
    case Algorithm::SEQ_MEAN:
      return LossAggregation::kSeqMean;
    case Algorithm::FIXED_LENGTH:
      return LossAggregation::kFixedLength;
    default:
      return LossAggregation::kTokenMean;
  }
}

CreditSignRule SignRuleOf(config::CreditOptions::SignRule rule) {
  switch (rule) {
    case config::CreditOptions::SIGN_NONE:
      return CreditSignRule::kNone;
    case config::CreditOptions::SIGN_V1:
      return CreditSignRule::kV1;
    default:
      return CreditSignRule::kV2;
  }
}

}  // namespace

TrainerOptions TrainerOptions::FromProto(const config::RunConfig& run) {
  const Algorithm& algorithm = run.algorithm();
  const config::OptimizerOptions& optimizer = run.optimizer();
  TrainerOptions options;
  options.estimator = EstimatorOf(algorithm.estimator());
  options.loss.loss = LossOf(algorithm.loss());
  options.loss.aggregation = AggregationOf(algorithm.aggregation());
  options.loss.fixed_length_tokens = algorithm.fixed_length_tokens();
  options.loss.clip_low = algorithm.clip_low();
  options.loss.clip_high = algorithm.clip_high();
  if (algorithm.tis_cap() > 0) options.loss.tis_cap = algorithm.tis_cap();
  options.loss.kl_beta = algorithm.kl_beta();
  options.loss.sign_rule = SignRuleOf(run.credit().sign_rule());
  options.updates_per_batch = algorithm.updates_per_batch();
  options.micro_batch_tokens = run.learner().micro_batch_tokens();
  options.optimizer = {optimizer.beta1(), optimizer.beta2(), optimizer.eps(), optimizer.weight_decay(),
                       optimizer.max_grad_norm()};
  options.schedule.lr = optimizer.lr();
  options.schedule.warmup_steps = optimizer.warmup_steps();
  options.schedule.shape = optimizer.schedule() == config::OptimizerOptions::COSINE ? LrSchedule::Shape::kCosine
                                                                                    : LrSchedule::Shape::kConstant;
  options.schedule.min_lr_ratio = optimizer.min_lr_ratio();
  options.schedule.total_steps = int64_t{run.learner().steps()} * algorithm.updates_per_batch();
  return options;
}

TrainerOptions TrainerOptions::ForSft(const config::RunConfig& run) {
  TrainerOptions options = FromProto(run);
  options.schedule.total_steps = run.sft().steps();
  options.loss.kl_beta = 0;  // no reference policy
  return options;
}

}  // namespace tactus
