#include "learner/train/trainer_options.h"

#include <cstdlib>

#include "proto/config.pb.h"

namespace tactus {
namespace {

using Algorithm = config::AlgorithmOptions;
using Optimizer = config::OptimizerOptions;

// The enums of proto/config.proto are closed: the compiler names the value that a switch lacks, and none reaches its
// end.

Estimator EstimatorOf(Algorithm::Estimator estimator) {
  switch (estimator) {
    case Algorithm::DR_GRPO:
      return Estimator::kDrGrpo;
    case Algorithm::RLOO:
      return Estimator::kRloo;
    case Algorithm::REINFORCE_PP:
      return Estimator::kReinforcePp;
    case Algorithm::REINFORCE_PP_BASELINE:
      return Estimator::kReinforcePpBaseline;
    case Algorithm::GRPO:
      return Estimator::kGrpo;
  }
  std::abort();
}

AdvantageLevel AdvantageLevelOf(Algorithm::AdvantageLevel level) {
  switch (level) {
    case Algorithm::EPISODE:
      return AdvantageLevel::kEpisode;
    case Algorithm::TURN:
      return AdvantageLevel::kTurn;
  }
  std::abort();
}

PolicyLossKind LossOf(Algorithm::Loss loss) {
  switch (loss) {
    case Algorithm::GSPO:
      return PolicyLossKind::kGspo;
    case Algorithm::CISPO:
      return PolicyLossKind::kCispo;
    case Algorithm::CLIP:
      return PolicyLossKind::kClip;
  }
  std::abort();
}

LossAggregation AggregationOf(Algorithm::Aggregation aggregation) {
  switch (aggregation) {
    case Algorithm::SEQ_MEAN:
      return LossAggregation::kSeqMean;
    case Algorithm::FIXED_LENGTH:
      return LossAggregation::kFixedLength;
    case Algorithm::TOKEN_MEAN:
      return LossAggregation::kTokenMean;
  }
  std::abort();
}

ImportanceLevel TisLevelOf(Algorithm::TisLevel level) {
  switch (level) {
    case Algorithm::TOKEN:
      return ImportanceLevel::kToken;
    case Algorithm::SEQUENCE:
      return ImportanceLevel::kSequence;
    case Algorithm::GEOMETRIC:
      return ImportanceLevel::kGeometric;
  }
  std::abort();
}

ImportanceRule TisRuleOf(Algorithm::TisRule rule) {
  switch (rule) {
    case Algorithm::TRUNCATE:
      return ImportanceRule::kTruncate;
    case Algorithm::MASK:
      return ImportanceRule::kMask;
  }
  std::abort();
}

KlEstimator KlEstimatorOf(Algorithm::KlEstimator estimator) {
  switch (estimator) {
    case Algorithm::K1:
      return KlEstimator::kK1;
    case Algorithm::K2:
      return KlEstimator::kK2;
    case Algorithm::K3:
      return KlEstimator::kK3;
  }
  std::abort();
}

// Where the KL is charged: one of the two has a weight.
void PlaceKl(const Algorithm& algorithm, TrainerOptions& options) {
  switch (algorithm.kl_place()) {
    case Algorithm::IN_LOSS:
      options.loss.kl_beta = algorithm.kl_beta();
      return;
    case Algorithm::IN_REWARD:
      options.shaping.kl_beta = algorithm.kl_beta();
      return;
  }
  std::abort();
}

CreditSignRule SignRuleOf(config::CreditOptions::SignRule rule) {
  switch (rule) {
    case config::CreditOptions::SIGN_NONE:
      return CreditSignRule::kNone;
    case config::CreditOptions::SIGN_V1:
      return CreditSignRule::kV1;
    case config::CreditOptions::SIGN_V2:
      return CreditSignRule::kV2;
  }
  std::abort();
}

LrSchedule::Shape ShapeOf(Optimizer::Schedule schedule) {
  switch (schedule) {
    case Optimizer::CONSTANT:
      return LrSchedule::Shape::kConstant;
    case Optimizer::COSINE:
      return LrSchedule::Shape::kCosine;
    case Optimizer::LINEAR:
      return LrSchedule::Shape::kLinear;
    case Optimizer::WSD:
      return LrSchedule::Shape::kWsd;
  }
  std::abort();
}

}  // namespace

std::string TrainerOptions::WhyWhole() const {
  // On every rank a group's advantages need what other ranks compute; one sum at the end is cheaper than one a group.
  if (shaping.kl_beta != 0) return "algorithm.kl_place IN_REWARD sums a group's KL over the ranks";
  switch (estimator) {
    case Estimator::kReinforcePp:
      return "algorithm.estimator REINFORCE_PP compares a reward with those of the whole batch";
    case Estimator::kReinforcePpBaseline:
      return "algorithm.estimator REINFORCE_PP_BASELINE divides by the deviation of the whole batch";
    case Estimator::kGrpo:
    case Estimator::kDrGrpo:
    case Estimator::kRloo:
      return "";
  }
  std::abort();
}

TrainerOptions TrainerOptions::FromProto(const config::RunConfig& run) {
  const Algorithm& algorithm = run.algorithm();
  const Optimizer& optimizer = run.optimizer();
  TrainerOptions options;
  options.estimator = EstimatorOf(algorithm.estimator());
  options.advantage_level = AdvantageLevelOf(algorithm.advantage_level());
  options.loss.loss = LossOf(algorithm.loss());
  options.loss.aggregation = AggregationOf(algorithm.aggregation());
  options.loss.fixed_length_tokens = algorithm.fixed_length_tokens();
  options.loss.clip_low = algorithm.clip_low();
  options.loss.clip_high = algorithm.clip_high();
  if (algorithm.tis_cap() > 0) options.loss.tis_cap = algorithm.tis_cap();
  options.loss.clip_dual = algorithm.clip_dual();
  options.loss.tis_level = TisLevelOf(algorithm.tis_level());
  options.loss.tis_rule = TisRuleOf(algorithm.tis_rule());
  options.loss.tis_floor = algorithm.tis_floor();
  options.loss.kl_estimator = options.shaping.kl_estimator = KlEstimatorOf(algorithm.kl_estimator());
  PlaceKl(algorithm, options);
  options.loss.entropy_coefficient = algorithm.entropy_coefficient();
  options.shaping.max_tokens = run.rollout().max_completion_tokens();
  options.shaping.buffer_tokens = algorithm.overlong_buffer_tokens();
  options.shaping.penalty = algorithm.overlong_penalty();
  options.mask_overlong = algorithm.mask_overlong();
  options.loss.sign_rule = SignRuleOf(run.credit().sign_rule());
  options.updates_per_batch = algorithm.updates_per_batch();
  options.micro_batch_tokens = run.learner().micro_batch_tokens();
  options.stream = run.learner().stream();
  options.truncated_sampling = run.rollout().top_p() < 1 || run.rollout().top_k() > 0;
  options.optimizer = {optimizer.beta1(),        optimizer.beta2(),         optimizer.eps(),
                       optimizer.weight_decay(), optimizer.max_grad_norm(), optimizer.skip_grad_norm()};
  options.max_skipped_updates = optimizer.max_skipped_updates();
  options.schedule.lr = optimizer.lr();
  options.schedule.warmup_steps = optimizer.warmup_steps();
  options.schedule.shape = ShapeOf(optimizer.schedule());
  options.schedule.min_lr_ratio = optimizer.min_lr_ratio();
  options.schedule.decay_steps = optimizer.decay_steps();
  options.schedule.total_steps = int64_t{run.learner().steps()} * algorithm.updates_per_batch();
  return options;
}

TrainerOptions TrainerOptions::ForSft(const config::RunConfig& run) {
  TrainerOptions options = FromProto(run);
  options.schedule.total_steps = run.sft().steps();
  options.loss.kl_beta = options.shaping.kl_beta = 0;  // no reference policy
  return options;
}

}  // namespace tactus
