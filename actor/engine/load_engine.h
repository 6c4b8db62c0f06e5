// From a model folder to an engine, for the commands that sample or score on this machine.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "actor/engine/engine.h"
#include "actor/engine/model_runner.h"
#include "common/device/device_spec.h"
#include "common/model/folder/hf_folder.h"

namespace tactus {

struct EngineSetup {
  Device device = {};
  GpuWays gpu_ways = {};
  StorageDType weights_dtype = StorageDType::kFloat32;
  bool load_weights = true;  // false: they are 0 until Engine::SwapWeights
  EngineOptions engine;
  int64_t kv_cache_mib = 1024;      // at most; no more pages than the sequences can use are allocated
  int64_t max_sequence_tokens = 0;  // longest prompt + completion; 0 = the model's longest
};

// Makes a decoder of the folder's configuration and weights on the device and allocates its cache: the only place that
// knows which devices this build has. InvalidArgument: the cache is too small for two pages; names the option.
// Unimplemented: a GPU, and this build has none; sizes that the kernels do not compute. ResourceExhausted: no memory.
absl::StatusOr<std::unique_ptr<ModelRunner>> CreateModelRunner(const ModelFolder& folder,
                                                               const ModelRunnerOptions& options);

// Blocks while the weights are read. Errors of OpenModelFolder, LoadParameters, CreateModelRunner and Engine::Create.
absl::StatusOr<std::unique_ptr<ModelRunner>> LoadRunner(const ModelFolder& folder, const EngineSetup& setup);
absl::StatusOr<std::unique_ptr<Engine>> LoadEngine(const ModelFolder& folder, const EngineSetup& setup);

}  // namespace tactus
