// A DecoderLm with its gradients, as the Trainer sees it.
#pragma once

#include <memory>

#include "common/model/decoder_lm.h"
#include "common/model/trainable_lm.h"
#include "learner/train/trainable_policy.h"

namespace tactus {

// `model` has its parameters loaded and packed.
std::unique_ptr<TrainablePolicy> MakeLmPolicy(std::unique_ptr<DecoderLm> model, const TrainableOptions& options);

}  // namespace tactus
