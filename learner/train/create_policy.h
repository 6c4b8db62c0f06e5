// A policy that computes where the process was told to: the only place that knows which devices this build has.
#pragma once

#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "common/base/dtype.h"
#include "common/config/config_fwd.h"
#include "common/device/device_spec.h"
#include "common/model/folder/hf_folder.h"
#include "common/model/trainable_options.h"
#include "learner/train/shards.h"
#include "learner/train/trainable_policy.h"

namespace tactus {

struct PolicyOptions {
  StorageDType dtype = StorageDType::kFloat32;
  TrainableOptions trainable;
  Device device;
  Sharding sharding = {};
  Collective* collective = nullptr;  // of the sharding's ranks, for a policy whose passes are collective
  uint64_t seed = 0;                 // of the fresh parameters, where the folder holds none

  // Of rank 0 of one, on the CPU. `run` is resolved.
  static PolicyOptions FromProto(const config::RunConfig& run);
};

// The folder's weights, or fresh ones where it has none, as float32. Blocks. The errors of LoadParameters.
absl::Status FillParameters(const ModelFolder& folder, uint64_t seed, std::span<float> parameters,
                            ParameterDone done = KeepParameter);

// Loads the folder's weights, or makes fresh ones where it has none. Blocks. The errors of LoadParameters and
// FailedPrecondition: a GPU in a build without CUDA, or a sharding that GPUs cannot do; Unimplemented: sizes that the
// kernels do not compute; ResourceExhausted: no memory there.
absl::StatusOr<std::unique_ptr<TrainablePolicy>> CreatePolicy(const ModelFolder& folder, const PolicyOptions& options);

}  // namespace tactus
