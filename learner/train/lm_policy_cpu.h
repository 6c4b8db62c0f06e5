// A decoder on the CPU with its gradients, as the Trainer sees it.
#pragma once

#include <memory>

#include "common/model/cpu/decoder_weights_cpu.h"
#include "common/model/trainable_options.h"
#include "learner/train/shards.h"
#include "learner/train/trainable_policy.h"

namespace tactus {

// `weights` have their parameters loaded and packed. Gradients and moments take their memory when they are first
// needed: a reference policy never does.
std::unique_ptr<TrainablePolicy> MakeLmPolicyCpu(std::unique_ptr<DecoderWeightsCpu> weights,
                                                 const TrainableOptions& options, const Sharding& sharding = {});

}  // namespace tactus
