// A decoder on the CPU with its gradients, as the Trainer sees it.
#pragma once

#include <memory>

#include "common/model/cpu/decoder_weights_cpu.h"
#include "common/model/trainable_options.h"
#include "learner/train/shards.h"
#include "learner/train/trainable_policy.h"

namespace tactus {

// How the weights are to be held with this sharding.
DecoderWeightsCpu::Residence ResidenceOf(const Sharding& sharding);

// `weights` have their parameters loaded and, where they are whole, packed. Gradients and moments take their memory
// when they are first needed: a reference policy never does. `collective` is of the sharding's ranks and outlives the
// policy; it may be null where passes are not collective (TrainablePolicy).
std::unique_ptr<TrainablePolicy> MakeLmPolicyCpu(std::unique_ptr<DecoderWeightsCpu> weights,
                                                 const TrainableOptions& options, const Sharding& sharding = {},
                                                 Collective* collective = nullptr);

}  // namespace tactus
