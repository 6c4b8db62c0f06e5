// A decoder with its gradients on a GPU, as the Trainer sees it.
#pragma once

#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "common/base/dtype.h"
#include "common/model/folder/model_config.h"
#include "common/model/trainable_options.h"
#include "learner/train/shards.h"
#include "learner/train/trainable_policy.h"

namespace tactus {

// `parameters` [layout.total_numel], float32 on the host, become the master weights on GPU `gpu`, as far as the
// sharding leaves them there; of PARAMETERS only what is this rank's is read (OwnedRanges). Products run in `dtype`.
// `collective`: of the sharding's world, outlives the policy; needed where gradients or parameters are divided.
// Gradients and moments take their memory when they are first needed: a reference policy never does. Blocks.
// Unimplemented: shapes the kernels do not compute; ResourceExhausted: no memory; Internal: another failure of the GPU.
absl::StatusOr<std::unique_ptr<TrainablePolicy>> MakeLmPolicyCuda(const ModelConfig& config, StorageDType dtype,
                                                                  std::span<const float> parameters,
                                                                  const TrainableOptions& options, int gpu,
                                                                  const Sharding& sharding = {},
                                                                  Collective* collective = nullptr);

}  // namespace tactus
