// The Trainer's part of a run's configuration.
#pragma once

#include <cstdint>
#include <string>

#include "common/config/config_fwd.h"
#include "common/data/turn_rewards.h"
#include "learner/algo/advantage.h"
#include "learner/algo/policy_loss.h"
#include "learner/algo/reward_shaping.h"
#include "learner/train/adamw.h"
#include "learner/train/lr_schedule.h"

namespace tactus {

struct TrainerOptions {
  Estimator estimator = Estimator::kGrpo;
  AdvantageLevel advantage_level = AdvantageLevel::kEpisode;
  PolicyLossOptions loss;  // kl_beta 0 where the KL is in the reward
  RewardShapingOptions shaping;
  bool mask_overlong = false;  // answers that were cut off are not trained on
  int updates_per_batch = 1;
  int64_t micro_batch_tokens = 16384;
  bool truncated_sampling = false;  // recorded log-probs are of another distribution: none is compared
  AdamWOptions optimizer;
  int64_t max_skipped_updates = 0;  // in a row, that Trainer::Diverged lets pass; 0 = any number
  LrSchedule schedule;
  bool stream = true;  // where nothing stands against it

  // Whether the starting policy is needed beside the trained one.
  bool needs_reference() const { return loss.kl_beta > 0 || shaping.kl_beta > 0; }

  // Why no group can be trained on before the last one is in: half a sentence. Empty = each can, since its advantages
  // are its own. The one place that decides it.
  std::string WhyWhole() const;
  // Whether groups are trained on as they come.
  bool streams() const { return stream && WhyWhole().empty(); }

  // `run` is resolved and checked (LoadRunConfig). The schedule ends with the last RL update, or the last SFT step.
  static TrainerOptions FromProto(const config::RunConfig& run);
  static TrainerOptions ForSft(const config::RunConfig& run);
};

}  // namespace tactus
